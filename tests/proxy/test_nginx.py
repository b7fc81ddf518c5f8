"""What passes through nginx, what it answers itself, and what never reaches the service."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import requests

from deploy.nginx import proxy
from relu_pipeline.demo import sample_digit
from tests.proxy.wire import TIMEOUT_S, answered, connect, echo, post_head, read_all, refusal
from tests.servers import Server, free_port

pytestmark = pytest.mark.slow

TEXT = {"text": "The striker wins the cup final"}
JSON = {"Content-Type": "application/json"}
PATIENCE_S = 1
IN_TIME_S = 8  # on a busy machine; nginx's own 10 s would be too late


@pytest.fixture(scope="module")
def impatient(service: Server) -> Iterator[str]:
    times = {"client_header_timeout": f"{PATIENCE_S}s", "client_body_timeout": f"{PATIENCE_S}s"}
    with proxy([service.port], limit_addresses=False, directives=times) as url:
        yield url


@pytest.mark.parametrize(
    ("path", "content", "headers"),
    [
        ("/classify_text", json.dumps(TEXT).encode(), JSON),
        ("/classify_texts", json.dumps({"texts": [TEXT["text"]] * 3}).encode(), JSON),
        ("/classify_image", sample_digit(), {"Content-Type": "image/png"}),
    ],
)
def test_predictions_pass_unchanged(
    url: str, service: Server, path: str, content: bytes, headers: dict[str, str]
) -> None:
    answers = [requests.post(base + path, content, headers=headers, timeout=TIMEOUT_S) for base in (url, service.url)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize("path", ["/", "/docs", "/docs.json", "/samples", "/info", "/readyz", "/livez"])
def test_pages_pass(url: str, path: str) -> None:
    assert requests.get(url + path, timeout=TIMEOUT_S).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status"),
    [
        ("GET", "/nothing", None, {}, 404),
        ("GET", "/classify_text", None, {}, 405),
        ("POST", "/classify_text", b"goal", {"Content-Type": "text/plain"}, 415),
        ("POST", "/classify_text", b"{", JSON, 400),
    ],
)
def test_errors_of_the_service_pass_unchanged(
    url: str, service: Server, method: str, path: str, content: bytes | None, headers: dict[str, str], status: int
) -> None:
    given = {"X-Request-ID": "abc-1", **headers}
    answers = [
        requests.request(method, base + path, data=content, headers=given, timeout=TIMEOUT_S)
        for base in (url, service.url)
    ]
    assert [answer.status_code for answer in answers] == [status, status]
    assert answers[0].json() == answers[1].json()


def test_headers_that_reach_the_service() -> None:
    given = {"X-Forwarded-For": "1.2.3.4", "X-Request-ID": "abc-1", "Upgrade": "websocket", "Connection": "Upgrade"}
    with echo() as (port, _), proxy([port]) as url:
        got = requests.get(f"{url}/info", headers=given | {"Host": "relu.example:8080"}, timeout=TIMEOUT_S).json()
    assert got["Host"] == "relu.example"
    assert (got["X-Forwarded-For"], got["X-Forwarded-Proto"]) == ("127.0.0.1", "http")
    assert got["X-Request-ID"] == "abc-1"
    assert not {"Upgrade", "Connection"} & set(got)


@pytest.mark.parametrize("given", ["", "a b", 'a"b', "a" * 129, "ä".encode().decode("latin-1")])
def test_a_request_id_that_cannot_stand_in_json_is_replaced(url: str, given: str) -> None:
    answer = requests.get(f"{url}/metrics", headers={"X-Request-ID": given}, timeout=TIMEOUT_S)
    assert refusal(answer) == (404, "not_found")
    assert len(answer.headers["X-Request-ID"]) == 32


def test_a_request_id_is_kept_by_nginx_and_by_the_service(url: str) -> None:
    for path in ("/metrics", "/nothing"):
        answer = requests.get(url + path, headers={"X-Request-ID": "abc-1"}, timeout=TIMEOUT_S)
        assert refusal(answer) == (404, "not_found")
        assert answer.headers["X-Request-ID"] == "abc-1"


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/metrics/",
        "//metrics",
        "/./metrics",
        "/info/../metrics",
        "/%6detrics",
        "/metrics%2f",
        "/a/..%2fmetrics",
        "/metrics?a=1",
        "/metrics;a",
        "http://elsewhere.invalid/metrics",
    ],
)
def test_metrics_are_hidden(url: str, path: str) -> None:
    with connect(url) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    assert b"relu_requests" not in body
    assert json.loads(body)["error"]["message"] == "Path not found."  # nginx's own


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, "invalid_http", id="no-host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "invalid_http", id="two-hosts"),
        pytest.param(b"\x16\x03\x01\r\n\r\n", 400, "invalid_http", id="tls"),
        pytest.param(post_head("/classify_text", -1), 400, "invalid_http", id="negative-length"),
        pytest.param(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed", id="trace"),
        pytest.param(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long", id="uri"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431, "headers_too_large", id="header"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 9000 + b"\r\n", 431, "headers_too_large", id="headers"),
    ],
)
def test_what_is_no_http_is_refused_in_the_shape_of_all_errors(url: str, sent: bytes, status: int, code: str) -> None:
    with connect(url) as connection:
        connection.sendall(sent)
        response = HTTPResponse(connection)
        response.begin()
        assert (response.status, json.loads(response.read())["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/classify_text", 64 << 10),
        ("/classify_image", 8 << 20),
        ("/classify_images", 64 << 20),
        ("/classify_texts", 8 << 20),
        ("/v2/models/image/infer", 64 << 20),
        ("/", 64 << 10),
    ],
)
def test_a_body_that_is_too_large_is_refused_by_its_header(url: str, service: Server, path: str, limit: int) -> None:
    before = answered(service.url, path)
    with connect(url) as connection:
        connection.sendall(post_head(path, limit + 1))
        response = HTTPResponse(connection)
        response.begin()
        assert (response.status, json.loads(response.read())["error"]["code"]) == (413, "body_too_large")
    assert answered(service.url, path) == before


def test_a_body_of_the_largest_size_passes(url: str) -> None:
    png = sample_digit()
    largest = png + bytes((8 << 20) - len(png))
    headers = {"Content-Type": "image/png"}
    assert requests.post(f"{url}/classify_image", largest, headers=headers, timeout=TIMEOUT_S).status_code == 200


def test_a_client_that_sends_all_before_it_reads_can_read_why_it_was_refused(url: str) -> None:
    """urllib sends 60 MB without looking; were the connection reset, it would never see the answer."""
    with pytest.raises(HTTPError) as caught:
        urlopen(Request(f"{url}/classify_image", bytes(60_000_000), {"Content-Type": "image/png"}), timeout=60)
    assert caught.value.code == 413
    assert json.loads(caught.value.read())["error"]["code"] == "body_too_large"


@pytest.mark.parametrize("size", [0, 1000, 5_000_000])
def test_without_a_replica_the_answer_is_502(size: int) -> None:
    with proxy([free_port()]) as url:
        answer = requests.post(f"{url}/classify_image", bytes(size), timeout=TIMEOUT_S)
    assert refusal(answer) == (502, "unavailable")
    assert answer.headers["Retry-After"] == "1"


def test_a_replica_that_does_not_answer_in_time_is_504_and_the_post_is_not_repeated() -> None:
    with echo(delay_s=3) as (port, paths), proxy([port, port], directives={"proxy_read_timeout": "1s"}) as url:
        answer = requests.post(f"{url}/classify_text", json=TEXT, timeout=TIMEOUT_S)
    assert refusal(answer) == (504, "upstream_timeout")
    assert answer.headers["Retry-After"] == "1"
    assert paths == ["/classify_text"]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /readyz HTTP/1.1\r\nHost: a\r\nX: ",
        post_head("/classify_text", 50),
        post_head("/classify_text", 50) + b"{",
    ],
    ids=["silent", "head", "no-body", "half-a-body"],
)
def test_a_slow_client_is_cut_off_and_never_reaches_the_service(impatient: str, service: Server, sent: bytes) -> None:
    before = answered(service.url, "/classify_text")
    with connect(impatient) as connection:
        began = time.monotonic()
        connection.sendall(sent)
        assert read_all(connection) == b""
        assert PATIENCE_S * 0.9 <= time.monotonic() - began < IN_TIME_S
    assert answered(service.url, "/classify_text") == before


def test_a_head_in_drips_is_cut_off(impatient: str) -> None:
    with connect(impatient) as connection:
        connection.sendall(b"GET /readyz HTTP/1.1\r\n")
        began = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe"):
            while time.monotonic() - began < IN_TIME_S:
                connection.sendall(b"X: a\r\n")
                time.sleep(0.2)


def test_a_body_in_drips_keeps_no_worker_waiting(url: str, service: Server) -> None:
    """The service gets the request once it is complete."""
    body = json.dumps(TEXT).encode()
    before = answered(service.url, "/classify_text")
    with connect(url) as connection:
        connection.sendall(post_head("/classify_text", len(body)))
        for index in range(len(body) - 1):
            connection.sendall(body[index : index + 1])
            time.sleep(0.02)
        assert answered(service.url, "/classify_text") == before
        connection.sendall(body[-1:])
        response = HTTPResponse(connection)
        response.begin()
        assert response.status == 200


def test_an_offer_of_h2c_is_ignored_and_its_body_is_no_request(url: str, service: Server) -> None:
    """The default of Java's HttpClient. The body comes in a second packet and looks like a request."""
    smuggled = b"GET /samples HTTP/1.1\r\nHost: a\r\n\r\n"
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    body = json.dumps(TEXT | {"text": TEXT["text"] + smuggled.decode()}).encode()
    before = answered(service.url, "/classify_text"), answered(service.url, "/samples")
    with connect(url) as connection:
        connection.sendall(post_head("/classify_text", len(body)).removesuffix(b"\r\n") + upgrade)
        time.sleep(0.2)
        connection.sendall(body)
        response = HTTPResponse(connection)
        response.begin()
        answer = json.loads(response.read())
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):  # exactly one answer
            connection.recv(1)
    assert (response.status, set(answer)) == (200, {"label", "probability", "top", "model"})
    assert (answered(service.url, "/classify_text"), answered(service.url, "/samples")) == (before[0] + 1, before[1])


def test_requests_ahead_that_are_never_read_cost_no_memory(url: str, service: Server) -> None:
    """200 kB of requests a connection, again and again; their answers would be a hundred times as much."""
    ask = b"GET /samples HTTP/1.1\r\nHost: a\r\n\r\n"
    connections = [connect(url) for _ in range(50)]
    with service.growth() as growth:
        for connection in connections:
            connection.setblocking(False)
        until = time.monotonic() + 3
        while time.monotonic() < until:
            for connection in connections:
                with suppress(BlockingIOError):
                    connection.send(ask * (200_000 // len(ask)))
            time.sleep(0.1)
        assert requests.get(f"{url}/readyz", timeout=TIMEOUT_S).status_code == 200
    for connection in connections:
        connection.close()
    assert max(growth) < 64 << 20


def test_each_request_is_a_line_of_json_in_the_log(service: Server, tmp_path: Path) -> None:
    with proxy([service.port], log_folder=tmp_path) as url:
        headers = {"X-Request-ID": "abc-1"}
        requests.post(f"{url}/classify_text", json=TEXT, headers=headers, timeout=TIMEOUT_S).raise_for_status()
        requests.get(f"{url}/metrics", timeout=TIMEOUT_S)
        with connect(url) as connection:
            connection.sendall(b"\xff\xfe\r\n\r\n")
            read_all(connection)
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["200", "404", "400"]
    assert (lines[0]["request_id"], lines[0]["request"]) == ("abc-1", "POST /classify_text HTTP/1.1")
    assert [line["request"] for line in lines[1:]] == ["GET /metrics HTTP/1.1", "not ASCII"]
    assert lines[0]["replica"] == f"127.0.0.1:{service.port}"
    assert 0 < float(lines[0]["upstream_response_time"]) <= lines[0]["request_time"] + 0.01
    assert lines[1]["replica"] == ""
    assert (tmp_path / "error.log").read_text() == ""


def test_many_clients_at_once_are_all_answered(url: str) -> None:
    """As many as asyncio.gather, or a thread pool, sends in one go."""
    with ThreadPoolExecutor(100) as pool:
        answers = list(
            pool.map(lambda _: requests.post(f"{url}/classify_text", json=TEXT, timeout=TIMEOUT_S), range(100))
        )
    assert {answer.status_code for answer in answers} <= {200}
