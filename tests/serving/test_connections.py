"""What a client can do below HTTP requests, against a service whose deadline is a second."""

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from serving.connections import GRACE_S, MAX_HEAD_BYTES
from serving.listening import ACCEPTS
from tests.servers import Server, copy_project, start

pytestmark = pytest.mark.pipeline
DEADLINE_S = 1.0
MARGIN_S = 3.0  # of a busy machine
MAX_REQUESTS = 10


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("project")
    settings = {
        "deadline_s": DEADLINE_S,
        "workers": 1,
        "max_connections": 20,
        "max_requests": MAX_REQUESTS,
        "max_held_bytes": 100_000,
    }
    with start(models, project=copy_project(folder, **settings)) as running:
        yield running


@pytest.fixture
def connection(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port)) as opened:
        opened.settimeout(DEADLINE_S + MARGIN_S)
        yield opened


def closed_after(connection: socket.socket) -> float:
    """Seconds until the other side ends the connection; fails if it does not."""
    began = time.monotonic()
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - began


@pytest.mark.parametrize("sent", [b"", b"POST /classify_text HTTP/1.1\r\nHost: a\r\n"])
def test_a_client_that_does_not_end_its_head_is_closed_by_the_deadline(connection: socket.socket, sent: bytes) -> None:
    connection.sendall(sent)
    assert DEADLINE_S <= closed_after(connection) < DEADLINE_S + GRACE_S + MARGIN_S


def test_a_body_that_does_not_end_hears_408(connection: socket.socket) -> None:
    head = b"POST /classify_text HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    connection.sendall(head)
    answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "deadline_exceeded"
    assert closed_after(connection) < GRACE_S + MARGIN_S


def is_open(server: Server, connection: socket.socket) -> bool:
    (worker,) = server.workers()
    own = connection.getsockname()[1]
    return any(one.raddr and one.raddr.port == own for one in worker.net_connections("tcp"))


def test_a_client_that_does_not_read_is_closed_whatever_else_it_asks(server: Server) -> None:
    ask = b"GET /static_content/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(10 * ask)
        await_true(lambda: is_open(server, connection))
        until = time.monotonic() + DEADLINE_S + GRACE_S + MARGIN_S
        while is_open(server, connection):
            assert time.monotonic() < until
            with suppress(OSError):
                connection.send(ask, socket.MSG_DONTWAIT)
            time.sleep(0.1)


def await_true(condition: Callable[[], bool], seconds: float = MARGIN_S) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_was_cut_off_is_counted_by_reason(server: Server, connection: socket.socket) -> None:
    def refused() -> float:
        shown = requests.get(f"{server.url}/metrics", timeout=5).text
        return sum(
            float(line.rpartition(" ")[2])
            for line in shown.splitlines()
            if line.startswith('relu_refusals_total{reason="request_incomplete"}')
        )

    before = refused()
    connection.sendall(b"POST /classify_text HTTP/1.1\r\n")
    closed_after(connection)
    assert refused() > before


def test_an_endless_head_is_cut_off(connection: socket.socket) -> None:
    connection.sendall(b"GET / HTTP/1.1\r\n")
    with pytest.raises(OSError, match=r"reset|pipe"):
        for _ in range(4 * MAX_HEAD_BYTES // 1000):
            connection.sendall(b"X: " + b"a" * 1000 + b"\r\n")
            time.sleep(0.001)


def test_what_is_not_http_is_refused_in_the_shape_of_all_errors(connection: socket.socket) -> None:
    connection.sendall(b"\x16\x03\x01\r\n\r\n")
    answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"


def test_a_worker_listens_as_many_times_as_it_accepts_in_a_turn(server: Server) -> None:
    (worker,) = server.workers()
    links = Counter(str(descriptor.readlink()) for descriptor in Path(f"/proc/{worker.pid}/fd").iterdir())
    assert max(count for link, count in links.items() if link.startswith("socket:")) == ACCEPTS


def test_connections_beyond_the_limit_are_refused_and_harm_no_other(server: Server) -> None:
    with requests.Session() as session:
        session.get(f"{server.url}/readyz", timeout=5).raise_for_status()
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(30)]
        time.sleep(0.2)
        assert session.get(f"{server.url}/readyz", timeout=5).ok
        refused = 0
        for one in held:
            one.settimeout(0.05)
            try:
                refused += one.recv(1) == b""
            except ConnectionResetError:
                refused += 1
            except TimeoutError:
                pass
            one.close()
        assert refused >= 10


def test_bodies_are_held_up_to_a_budget(server: Server) -> None:
    answer = requests.post(
        f"{server.url}/classify_image", data=bytes(150_000), headers={"Content-Type": "image/png"}, timeout=5
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")
    assert answer.headers["Retry-After"] == "1"
    answer = requests.post(
        f"{server.url}/classify_image", data=bytes(90_000), headers={"Content-Type": "image/png"}, timeout=5
    )
    assert answer.json()["error"]["code"] == "invalid_image"


def test_a_connection_is_closed_in_good_order_after_its_share_of_requests(server: Server) -> None:
    closing = []
    with requests.Session() as session:
        for _ in range(2 * MAX_REQUESTS):
            answer = session.get(f"{server.url}/readyz", timeout=5)
            answer.raise_for_status()
            closing.append(answer.headers.get("Connection") == "close")
    assert [number for number, close in enumerate(closing, start=1) if close] == [MAX_REQUESTS, 2 * MAX_REQUESTS]
