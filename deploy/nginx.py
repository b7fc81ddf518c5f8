"""Run nginx with deploy/nginx.conf in front of services on this machine, for tests and benchmarks."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection, socket
from tempfile import TemporaryDirectory

FOLDER = Path(__file__).resolve().parent
CONFIG = FOLDER / "nginx.conf"
REPLICA = "127.0.0.1:3000"  # as in nginx/replicas.conf
START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 10


@contextmanager
def proxy(
    ports: Sequence[int],
    *,
    port: int | None = None,
    limit_addresses: bool = True,
    worker_processes: int = 1,
    directives: Mapping[str, str] | None = None,
    config: Path = CONFIG,
    log_folder: Path | None = None,
) -> Iterator[str]:
    """Run nginx in front of the replicas on `ports` of 127.0.0.1 until the block ends; yield its URL.

    It listens on `port`, or on a free one. `limit_addresses=False` disables the limits by address, for a load generator
    with a single address. `directives` overwrites values of the configuration, for example
    `{"client_body_timeout": "1s"}`. `config` is one of the main files in deploy/. `access.log` and `error.log` are
    written to `log_folder`.
    """
    values = {"worker_processes": str(worker_processes), **(directives or {})}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)  # nginx started by root writes as another user
        url = _configure(folder, config, port, ports, values, limit_addresses)
        logs = log_folder or folder
        process = _start(folder / config.name, logs)
        try:
            _await_port(process, int(url.rpartition(":")[2]), logs)
            yield url
        finally:
            _stop(process)


def find_nginx() -> str:
    """Return the path of nginx. Raises FileNotFoundError if it is not installed."""
    path = shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/sbin") or shutil.which("nginx")
    if not path:
        raise FileNotFoundError("nginx is not installed: apt-get install nginx")
    return path


def _configure(
    folder: Path,
    config: Path,
    port: int | None,
    ports: Sequence[int],
    values: Mapping[str, str],
    limit_addresses: bool,
) -> str:
    """Write the configuration to `folder` with these ports and values; return the URL of its last server."""
    shutil.copytree(FOLDER / "nginx", folder / "nginx", dirs_exist_ok=True)
    replicas, main = folder / "nginx/replicas.conf", folder / config.name
    files = {path: path.read_text() for path in (folder / "nginx").iterdir()}
    files[replicas] = _with_replicas(files[replicas], ports, limit_addresses)
    files[main], url = _on_ports(config.read_text(), port)
    for name, value in values.items():
        files = _with_directive(files, name, value)
    for path, text in files.items():
        path.write_text(text)
    return url


def _with_replicas(text: str, ports: Sequence[int], limit_addresses: bool) -> str:
    server = re.search(rf"(?m)^    server {re.escape(REPLICA)}( .*;)$", text)
    limit = re.search(r"(?m)^limit_conn replicas (\d+);$", text)
    by_address = re.findall(r"(?m)^limit_(?:conn address|req zone=address_rate) .*;$", text)
    if not server or not limit or len(by_address) != 2:
        raise ValueError(f"nginx/replicas.conf does not have one server {REPLICA} and the three limits")
    servers = "\n".join(f"    server 127.0.0.1:{port}{server[1]}" for port in ports)
    text = text.replace(server[0], servers).replace(limit[0], f"limit_conn replicas {int(limit[1]) * len(ports)};")
    for line in [] if limit_addresses else by_address:
        text = text.replace(line, "")
    return text


def _on_ports(text: str, wanted: int | None) -> tuple[str, str]:
    """Set the port of each `listen` to `wanted` or a free port of 127.0.0.1; return the text and the last URL."""
    listens = re.findall(r"(?m)^ +listen (\d+)((?: \w+)*);", text)
    if not listens:
        raise ValueError("the configuration has no `listen PORT;`")
    for port, options in listens:
        free = wanted or _free_port()
        text = text.replace(f"listen {port}{options};", f"listen 127.0.0.1:{free}{options};")
    return text, f"{'https' if 'ssl' in options.split() else 'http'}://127.0.0.1:{free}"


def _with_directive(files: Mapping[Path, str], name: str, value: str) -> dict[Path, str]:
    changes = {
        path: re.subn(rf"(?m)^( *){re.escape(name)} [^;]*;", lambda found: f"{found[1]}{name} {value};", text)
        for path, text in files.items()
    }
    if not any(count for _, count in changes.values()):
        raise ValueError(f"the configuration has no `{name}` to replace")
    return {path: text for path, (text, _) in changes.items()}


def _free_port() -> int:
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _start(config: Path, logs: Path) -> subprocess.Popen[bytes]:
    words = [find_nginx(), "-p", str(config.parent), "-e", "stderr", "-c", str(config)]
    with (logs / "access.log").open("wb") as access, (logs / "error.log").open("wb") as error:
        return subprocess.Popen(words, stdout=access, stderr=error)


def _await_port(process: subprocess.Popen[bytes], port: int, logs: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nginx does not listen; its error log:\n{(logs / 'error.log').read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop nginx at once, including requests in progress."""
    process.terminate()
    process.wait(STOP_TIMEOUT_S)
