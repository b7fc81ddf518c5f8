"""Too many requests: of one address, and of all together."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from socket import socket

import pytest
import requests

from deploy.nginx import proxy
from tests.proxy.wire import TIMEOUT_S, connect, post_head, refusal
from tests.servers import Server

pytestmark = [pytest.mark.slow, pytest.mark.alone]

TEXT = {"text": "The striker wins the cup final"}
MOST = 4
PROBES = ("/livez", "/readyz")


def get(url: str, path: str = "/info") -> requests.Response:
    return requests.get(url + path, timeout=TIMEOUT_S)


@contextmanager
def uploads(url: str, count: int, address: str = "127.0.0.1") -> Iterator[None]:
    """Keep `count` requests of `address` open: their bodies do not end."""
    with ExitStack() as stack:
        for _ in range(count):
            connection: socket = stack.enter_context(connect(url, address))
            connection.sendall(post_head("/classify_text", 50))
        time.sleep(0.3)
        yield


def await_true(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_an_address_that_asks_too_often_is_refused_and_harms_no_other(service: Server) -> None:
    slow = {
        "limit_req_zone": "$limited_address zone=address_rate:1m rate=1r/m",
        "limit_req": f"zone=address_rate burst={MOST} nodelay",
    }
    with proxy([service.port], directives=slow) as url:
        answers = [get(url) for _ in range(MOST + 3)]
        assert [answer.status_code for answer in answers] == [200] * (MOST + 1) + [429] * 2
        assert refusal(answers[-1]) == (429, "too_many_requests")
        assert answers[-1].headers["Retry-After"] == "1"
        assert {get(url, path).status_code for path in PROBES * 5} == {200}
        with connect(url, "127.0.0.2") as other:
            other.sendall(b"GET /info HTTP/1.1\r\nHost: a\r\n\r\n")
            assert other.recv(12) == b"HTTP/1.1 200"


def test_an_address_with_too_many_requests_at_one_time_is_refused_and_harms_no_other(service: Server) -> None:
    with proxy([service.port], directives={"limit_conn address": str(MOST)}) as url, uploads(url, MOST, "127.0.0.2"):
        with connect(url, "127.0.0.2") as same:
            same.sendall(b"GET /info HTTP/1.1\r\nHost: a\r\n\r\n")
            assert same.recv(12) == b"HTTP/1.1 429"
        assert get(url).status_code == 200


def test_more_than_the_service_answers_at_one_time_is_refused(service: Server) -> None:
    with proxy([service.port], limit_addresses=False, directives={"limit_conn replicas": str(MOST)}) as url:
        with uploads(url, MOST):
            answer = get(url)
            assert refusal(answer) == (429, "overloaded")
            assert answer.headers["Retry-After"] == "1"
            large = requests.post(f"{url}/classify_image", bytes(5_000_000), timeout=TIMEOUT_S)
            assert refusal(large) == (429, "overloaded")
            assert {get(url, path).status_code for path in PROBES} == {200}
        await_true(lambda: get(url).status_code == 200)


def test_the_limit_grows_with_the_replicas(service: Server) -> None:
    with proxy([service.port, service.port], limit_addresses=False) as url, uploads(url, 200):
        assert get(url).status_code == 200


def test_an_overload_is_answered_by_200_and_429_alone(service: Server) -> None:
    def ask(_: int) -> int:
        return requests.post(f"{url}/classify_text", json=TEXT, timeout=TIMEOUT_S).status_code

    few = {"limit_conn replicas": str(MOST)}
    with proxy([service.port], limit_addresses=False, directives=few) as url, ThreadPoolExecutor(32) as pool:
        statuses = Counter(pool.map(ask, range(600)))
    assert set(statuses) == {200, 429}
    assert statuses[200] > 20
