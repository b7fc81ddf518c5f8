"""Two replicas: they share the load, and one that is killed takes only what it was answering with it."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests

from deploy.nginx import proxy
from tests.proxy.conftest import ONE_WORKER
from tests.proxy.wire import TIMEOUT_S, answered, echo
from tests.servers import Server, free_port, start

pytestmark = [pytest.mark.slow, pytest.mark.alone]

TEXT = {"text": "The striker wins the cup final"}
CLIENTS = 8
SETTLED_S = 0.2
CUT_OFF = 0


@pytest.fixture
def replicas(models: Path) -> Iterator[list[Server]]:
    with start(models, ONE_WORKER) as first, start(models, ONE_WORKER) as second:
        yield [first, second]


@dataclass
class Load:
    """Clients that ask without pause until the block ends; `answers` has when each asked, and the status it got.

    The status of an answer whose body was cut off, as its header had left when the replica was killed, is CUT_OFF.
    """

    url: str
    answers: list[tuple[float, int]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        with requests.Session() as session:
            while not self.ended.is_set():
                began = time.monotonic()
                try:
                    status = session.post(f"{self.url}/classify_text", json=TEXT, timeout=TIMEOUT_S).status_code
                except requests.exceptions.ChunkedEncodingError:
                    status = CUT_OFF
                self.answers.append((began, status))

    def run(self, pool: ThreadPoolExecutor, seconds: float) -> None:
        clients = [pool.submit(self.ask) for _ in range(CLIENTS)]
        time.sleep(seconds)
        self.ended.set()
        for client in clients:
            client.result()


def kill(replica: Server) -> float:
    """Kill the replica with all its processes, as the end of its container would; return when all were gone."""
    parent = psutil.Process(replica.process.pid)
    processes = [parent, *parent.children(recursive=True)]
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    replica.process.wait()
    psutil.wait_procs(processes, timeout=TIMEOUT_S)
    return time.monotonic()


def test_replicas_have_one_worker(service: Server) -> None:
    assert len(service.workers()) == 1


def test_replicas_share_the_load_and_one_that_is_killed_loses_only_what_it_was_answering(
    replicas: list[Server],
) -> None:
    with proxy([replica.port for replica in replicas], limit_addresses=False) as url, ThreadPoolExecutor() as pool:
        before = Load(url)
        before.run(pool, 2)
        shares = [answered(replica.url, "/classify_text") for replica in replicas]
        during = Load(url)
        killed = pool.submit(lambda: (time.sleep(1), kill(replicas[0]))[1])
        during.run(pool, 4)
    assert {status for _, status in before.answers} == {200}
    assert min(shares) > 0.2 * sum(shares)
    lost = [began for began, status in during.answers if status != 200]
    assert {status for _, status in during.answers} <= {200, 502, CUT_OFF}
    assert len(lost) <= CLIENTS
    assert not [began for began in lost if began > killed.result() + SETTLED_S]
    assert [began for began, _ in during.answers if began > killed.result() + 1]


def test_a_request_that_finds_no_connection_goes_to_the_next_replica() -> None:
    with echo() as (port, paths), proxy([free_port(), port, free_port()]) as url:
        answers = [requests.post(f"{url}/classify_text", json=TEXT, timeout=TIMEOUT_S) for _ in range(10)]
    assert [answer.status_code for answer in answers] == [200] * 10
    assert len(paths) == 10
