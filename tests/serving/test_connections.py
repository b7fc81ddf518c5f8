"""What the service does with slow, broken and dangerous connections by itself, without the proxy of deploy/nginx.conf.

Its deadline is a second, and it has one worker.
"""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.servers import Server, copy_project, start

pytestmark = [pytest.mark.slow, pytest.mark.alone]
DEADLINE_S = 1.0
MARGIN_S = 4.0  # of a busy machine
TEXT = b'{"text": "The striker wins the cup final"}'
JSON = b"Content-Type: application/json"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"deadline_s": DEADLINE_S, "workers": 1, "limits.buffered_bytes": 100_000}
    with start(models, project=copy_project(tmp_path_factory.mktemp("project"), **settings)) as running:
        yield running


@pytest.fixture
def connection(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port)) as opened:
        opened.settimeout(DEADLINE_S + MARGIN_S)
        yield opened


def post(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    size = b"Content-Length: %d" % (len(body) if length is None else length)
    head = [b"POST /classify_text HTTP/1.1", b"Host: localhost", JSON, size, *headers]
    return b"\r\n".join([*head, b"", body])


def read_to_end(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes the connection. Fails if it does not."""
    received = b""
    while block := connection.recv(65536):
        received += block
    return received


def error_of(response: bytes) -> str:
    """Return the code of the error in a single response."""
    assert response.count(b"HTTP/1.1 ") == 1, response
    return json.loads(response.partition(b"\r\n\r\n")[2])["error"]["code"]


def metrics(server: Server) -> dict[str, float]:
    lines = requests.get(f"{server.url}/metrics", timeout=5).text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_an_incomplete_body_is_answered_with_408_at_the_deadline_and_the_connection_closes(
    connection: socket.socket,
) -> None:
    began = time.monotonic()
    connection.sendall(post(b"{", length=50))
    response = read_to_end(connection)
    assert DEADLINE_S <= time.monotonic() - began < DEADLINE_S + MARGIN_S
    assert response.startswith(b"HTTP/1.1 408 ")
    assert error_of(response) == "request_timeout"
    head = response.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    assert {b"retry-after: 1", b"connection: close"} <= set(head)


def test_a_client_that_leaves_while_it_sends_is_counted_with_status_499(server: Server) -> None:
    name = 'relu_requests_total{endpoint="/classify_text",status="499"}'
    before = metrics(server).get(name, 0)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(post(b"{", length=50))
        time.sleep(0.2)
    await_value(server, name, before + 1)


def await_value(server: Server, name: str, value: float) -> None:
    end = time.monotonic() + MARGIN_S
    while (found := metrics(server).get(name, 0)) != value:
        assert time.monotonic() < end, (name, found, value)
        time.sleep(0.1)


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\r\n\r\n", b"POST\r\n\r\n", post(TEXT).replace(b"HTTP/1.1", b"HTTP/x.1")]
)
def test_invalid_http_is_answered_with_400_and_the_connection_closes(connection: socket.socket, sent: bytes) -> None:
    connection.sendall(sent)
    response = read_to_end(connection)
    assert response.startswith(b"HTTP/1.1 400 ")
    assert response.endswith(b"\r\n\r\nInvalid HTTP request received.")  # by uvicorn, in plain text


def test_an_offer_of_h2c_with_a_body_is_refused_once_and_the_connection_closes(connection: socket.socket) -> None:
    """curl and Java's HttpClient make it; uvicorn drops the body of such a request."""
    connection.sendall(post(TEXT, UPGRADE))
    response = read_to_end(connection)
    assert response.startswith(b"HTTP/1.1 400 ")
    assert error_of(response) == "invalid_http"


@pytest.mark.parametrize("pause_s", [0, 0.001, 0.3])
def test_the_body_of_a_request_that_offers_h2c_is_never_run_as_a_request(
    server: Server, connection: socket.socket, pause_s: float
) -> None:
    name = 'relu_batch_size_sum{task="text"}'
    before = metrics(server).get(name, 0)
    body = post(TEXT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(post(b"", UPGRADE, length=len(body)))
    time.sleep(pause_s)
    try:
        connection.sendall(body)
        response = read_to_end(connection)
    except ConnectionError:  # the body came after the connection was closed
        response = b""
    assert not response or error_of(response) == "invalid_http"
    assert metrics(server).get(name, 0) == before
    assert requests.post(
        f"{server.url}/classify_text", TEXT, headers={"Content-Type": "application/json"}, timeout=5
    ).ok


def test_an_offer_of_h2c_without_a_body_is_ignored(connection: socket.socket) -> None:
    connection.sendall(b"GET /info HTTP/1.1\r\nHost: localhost\r\n" + UPGRADE + b"\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_request_bodies_beyond_the_memory_budget_are_refused(server: Server) -> None:
    def post_image(size: int) -> requests.Response:
        headers = {"Content-Type": "image/png"}
        return requests.post(f"{server.url}/classify_image", data=bytes(size), headers=headers, timeout=5)

    response = post_image(150_000)
    assert (response.status_code, response.json()["error"]["code"]) == (429, "overloaded")
    assert response.headers["Retry-After"] == "1"
    assert post_image(90_000).json()["error"]["code"] == "invalid_image"


def test_bodies_that_are_still_arriving_count_towards_the_memory_budget(server: Server) -> None:
    def send(body: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.settimeout(DEADLINE_S + MARGIN_S)
        connection.sendall(post(body, length=60_000))
        return connection

    with send(bytes(55_000)) as first:
        time.sleep(0.2)
        with send(bytes(55_000)) as second:
            assert second.recv(65536).startswith(b"HTTP/1.1 429 ")
        assert read_to_end(first).startswith(b"HTTP/1.1 408 ")
    with send(bytes(60_000)) as third:  # both have been released
        assert third.recv(65536).startswith(b"HTTP/1.1 400 ")
