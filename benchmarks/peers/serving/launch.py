"""Start, readiness, resource usage and stop of a side's server."""

import os
import shlex
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.peers.serving.sides import Side, python_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CORES = len(os.sched_getaffinity(0))
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 20
LOG_TAIL = 3000  # characters
MIB = 1 << 20
QUIET = {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "RAY_USAGE_STATS_ENABLED": "0"}


class ServerError(Exception):
    """A server did not start, or its response is wrong."""


@dataclass(frozen=True)
class Server:
    """Running server; `start_s` is the time from the command to the first status 200."""

    url: str
    start_s: float
    log: Path
    process: psutil.Process

    def log_tail(self) -> str:
        return self.log.read_text()[-LOG_TAIL:]

    def cpu_s(self) -> float:
        """Return the CPU time of all processes of the server."""
        times = [process.cpu_times() for process in family(self.process)]
        return sum(one.user + one.system for one in times)

    def memory(self) -> list[dict[str, Any]]:
        """Return the resident (RSS) and unique (USS) memory of each process in MiB, largest first."""
        found = []
        for process in family(self.process):
            sizes, command = process.memory_full_info(), " ".join(process.cmdline()).strip()
            found.append({"rss_mb": sizes.rss / MIB, "uss_mb": sizes.uss / MIB, "command": command[-80:]})
        return sorted(found, key=lambda sizes: -sizes["rss_mb"])


@contextmanager
def serving(side: Side, task: str, models: Path, scratch: Path) -> Iterator[Server]:
    """Run the server of `side` with the model of `task` until the block ends. Raises ServerError."""
    port, port_2 = free_ports(2)
    fields = {"cores": CORES, "port": port, "port_2": port_2, "scratch": scratch, "root": ROOT}
    environment = os.environ | QUIET | {"TASK": task, "MODELS": str(models), "RELU_MODELS_DIR": str(models)}
    environment |= {"PATH": f"{python_of(side).parent}:{os.environ['PATH']}", "PYTHONPATH": str(HERE)}
    environment |= {name: value.format(**fields) for name, value in side.environment.items()}
    log = scratch / "server.log"
    with log.open("w") as output:
        where = {"cwd": side.folder.format(**fields), "env": environment, "stdout": output, "stderr": output}
        if side.prepare:
            subprocess.run(shlex.split(side.prepare.format(**fields)), check=True, **where)
        started = time.perf_counter()
        child = subprocess.Popen(shlex.split(side.command.format(**fields)), start_new_session=True, **where)
    try:
        url = f"http://127.0.0.1:{port}"
        await_ready(child, url + side.ready, log)
        yield Server(url, time.perf_counter() - started, log, psutil.Process(child.pid))
    finally:
        stop(child)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]


def await_ready(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while child.poll() is None and time.monotonic() < until:
        # The connection may be refused, or the status may be 503 while the server loads.
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  # loopback
            if response.status == 200:
                return
        time.sleep(0.01)
    raise ServerError(f"{url} does not return 200; the end of its log:\n{log.read_text()[-LOG_TAIL:]}")


def stop(child: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM, then kill the remaining processes."""
    processes = family(psutil.Process(child.pid)) if child.poll() is None else []
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(STOP_TIMEOUT_S)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    child.wait()
    psutil.wait_procs(processes, STOP_TIMEOUT_S)


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]
