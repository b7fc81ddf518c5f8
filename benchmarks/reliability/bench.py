"""The service under test, its requests, and the checked limits."""

import base64
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import psutil
import yaml
from numpy.typing import NDArray

from benchmarks.reliability.client import Record, closed_loop
from deploy.nginx import proxy
from relu_pipeline import artifacts
from relu_pipeline.config import TASK_NAMES, TaskName
from serving.settings import Settings
from tests.servers import ROOT, Server, start

CONNECTIONS_PER_WORKER = 8  # of a closed loop: enough to keep a worker busy, too few to overload it


@dataclass(frozen=True)
class Bench:
    """Service under test.

    Requests go to `port`, of the service or of nginx in front of the replicas `servers`. `models` is a copy of the
    served files, `written` are the folders that the service writes to, except its log. If `apart`, the client has its
    own core.
    """

    servers: tuple[Server, ...]
    port: int
    settings: Settings
    models: Path
    written: tuple[Path, ...]
    apart: bool

    @property
    def server(self) -> Server:
        """Return the only server, without nginx."""
        (server,) = self.servers
        return server

    def workers(self) -> list[psutil.Process]:
        return [worker for server in self.servers for worker in server.workers()]

    def requests(self, *tasks: TaskName) -> list[bytes]:
        """Return encoded requests with the samples of the models of `tasks`, alternating between tasks."""
        encoded = [[ENCODE[task](content) for content in samples(self.models / task)] for task in tasks]
        longest = max(encoded, key=len)
        return list(chain.from_iterable(zip(*(cycle(one) for one in encoded), longest, strict=False)))


@dataclass(frozen=True)
class Promise:
    """Checked limit: it is kept if the value `found` is at most `limit`."""

    what: str
    found: float
    limit: float

    @property
    def kept(self) -> bool:
        return bool(self.found <= self.limit)


@dataclass(frozen=True)
class Outcome:
    figures: dict[str, Any]
    promises: list[Promise]


@contextmanager
def on_cores(cores: Iterable[int]) -> Iterator[None]:
    """Restrict this process, and processes that it starts, to these cores until the block ends."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def serve(models: Path, project: Path = ROOT, apart: bool = False, behind_nginx: bool = False) -> Iterator[Bench]:
    """Run a service with a copy of `models`, and its own home, because BentoML clears the metrics in a shared one.

    If `apart` and there are several cores, the last core is reserved for this process, and the service has a worker for
    each of the others, so that a busy client does not slow down the service. If `behind_nginx`, there is one replica
    with one worker per core, behind deploy/nginx.conf on the same cores, without its limits by address, because all
    requests come from one address.
    """
    cores = sorted(os.sched_getaffinity(0))
    apart = apart and len(cores) > 1
    own, others = (cores[-1:], cores[:-1]) if apart else (cores, cores)
    with TemporaryDirectory() as scratch, ExitStack() as stack:
        copy, temporary = Path(scratch) / "models", Path(scratch) / "tmp"
        temporary.mkdir()
        for task in TASK_NAMES:
            copy_model(models / task, copy / task)
        workers = 1 if behind_nginx else len(others)
        environment = {"TMPDIR": str(temporary), "BENTOML_CONFIG_OPTIONS": f"services.relu_pipeline.workers={workers}"}
        homes = [Path(scratch) / f"home_{number}" for number in range(len(others) if behind_nginx else 1)]
        with on_cores(others):
            servers = [
                stack.enter_context(start(copy, environment | {"BENTOML_HOME": str(home)}, project)) for home in homes
            ]
            port = servers[0].port
            if behind_nginx:
                url = stack.enter_context(proxy([server.port for server in servers], limit_addresses=False))
                port = int(url.rpartition(":")[2])
        settings = Settings.model_validate(yaml.safe_load((project / "configs/serving.yaml").read_text()))
        with on_cores(own):
            yield Bench(tuple(servers), port, settings, copy, (*homes, temporary), apart)


def copy_model(source: Path, target: Path) -> None:
    """Copy the files that the service reads."""
    target.mkdir(parents=True)
    for name in (*json.loads((source / artifacts.MANIFEST).read_text())["files"], artifacts.MANIFEST):
        shutil.copyfile(source / name, target / name)


def samples(model: Path) -> list[str]:
    return [sample["input"] for sample in json.loads((model / "samples.json").read_text())["samples"]]


def post(path: str, media_type: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get_once(path: str) -> bytes:
    """Return a GET request whose connection is closed after the response."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


ENCODE = {
    "image": lambda content: post("/classify_image", "image/png", base64.b64decode(content)),
    "text": lambda content: post("/classify_text", "application/json", msgspec.json.encode({"text": content})),
}
PROBE = get_once("/readyz")


async def find_capacity(bench: Bench, requests: list[bytes], seconds: float) -> tuple[float, Record]:
    """Return the requests per second of a closed loop, and its record."""
    connections = CONNECTIONS_PER_WORKER * len(bench.workers())
    record = await closed_loop(bench.port, requests, connections, seconds)
    return len(record.seconds()) / seconds, record


def ports_of(worker: psutil.Process, port: int) -> set[int]:
    """Return the client ports of the connections that this worker has accepted."""
    return {one.raddr.port for one in worker.net_connections("tcp") if one.raddr and one.laddr.port == port}


def p99_ms(seconds: NDArray[np.float64]) -> float:
    """Return the 99th percentile in ms, or infinity without values."""
    return float(np.quantile(seconds, 0.99)) * 1e3 if len(seconds) else np.inf


def latencies_ms(seconds: NDArray[np.float64]) -> dict[str, float]:
    if not len(seconds):
        return {}
    found = np.quantile(seconds, (0.5, 0.99, 0.999, 1)) * 1e3
    return dict(zip(("p50", "p99", "p999", "max"), found.round(3).tolist(), strict=True))
