"""A real `bentoml serve` process for tests."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import psutil
import requests

from tests.params import set_param

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 20


@dataclass(frozen=True)
class Certificate:
    """Files in PEM format. A client that trusts `certificate` accepts the server."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Server:
    """A running service. `log` has all that it writes to standard output and standard error."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def host(self) -> str:
        return str(urlsplit(self.url).hostname)

    @property
    def port(self) -> int:
        return int(urlsplit(self.url).port or 0)

    def workers(self) -> list[psutil.Process]:
        """Return the processes that answer; `process` is their supervisor."""
        return psutil.Process(self.process.pid).children()

    @contextmanager
    def growth(self) -> Iterator[list[int]]:
        """Yield a list that gets, at the end of the block, the peak growth of each worker's memory in bytes."""
        workers = self.workers()
        for worker in workers:
            Path(f"/proc/{worker.pid}/clear_refs").write_text("5")  # from here on VmHWM is the peak; see proc(5)
        before = [worker.memory_info().rss for worker in workers]
        growth: list[int] = []
        yield growth
        growth += [_peak(worker.pid) - start for worker, start in zip(workers, before, strict=True)]


@contextmanager
def start(
    models: Path,
    environment: Mapping[str, str] | None = None,
    project: Path = ROOT,
    host: str | None = None,
    tls: Certificate | None = None,
) -> Iterator[Server]:
    """Run `bentoml serve` in the folder `project` on a free port. The service is ready when the block begins.

    `environment` is added to that of this process, from which the settings of BentoML and of the service are removed.
    """
    port = free_port()
    options = ["--host", host] if host else []
    if tls:
        options += ["--ssl-certfile", str(tls.certificate), "--ssl-keyfile", str(tls.key)]
    with TemporaryDirectory() as scratch:
        log = Path(scratch) / "serve.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*serve_command(port), *options],
                cwd=project,
                # Each has its own home: BentoML deletes the workers' metric files in its home when it starts.
                env=service_environment(models) | {"BENTOML_HOME": scratch} | dict(environment or {}),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        server = Server(f"{'https' if tls else 'http'}://{host or '127.0.0.1'}:{port}", process, log)
        try:
            _await_ready(server, tls)
            yield server
        finally:
            _stop(process)


def serve_command(port: int) -> list[str]:
    return [sys.executable, "-m", "bentoml", "serve", "--port", str(port)]


def service_environment(models: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("RELU_", "BENTOML_"))}
    return own | {"RELU_MODELS_DIR": str(models), "BENTOML_DO_NOT_TRACK": "true"}


def free_port() -> int:
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def copy_project(folder: Path, **settings: Any) -> Path:
    """Copy the service, without its models, to `folder` and change settings in its configs/serving.yaml.

    A setting of a section has a dot in its name: `copy_project(folder, workers=1, **{"queue.max_depth": 8})`.
    """
    for package in ("relu_inputs", "serving"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "configs").mkdir()
    for name in ("bentofile.yaml", "configs/serving.yaml"):
        shutil.copyfile(ROOT / name, folder / name)
    for name, value in settings.items():
        set_param(folder / "configs/serving.yaml", name, value)
    return folder


def _await_ready(server: Server, tls: Certificate | None) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while server.process.poll() is None and time.monotonic() < deadline:
        with suppress(requests.RequestException):
            if requests.get(f"{server.url}/readyz", verify=str(tls.certificate) if tls else True, timeout=1).ok:
                return
        time.sleep(0.1)
    raise AssertionError(f"`bentoml serve` did not become ready; it wrote:\n{server.log.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    workers = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for worker in workers:
        if worker.is_running():
            worker.kill()


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(kilobytes) * 1024
