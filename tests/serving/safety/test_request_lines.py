"""Whatever the request line and the Host header: the right response or an error, never another file or host."""

from itertools import product

import pytest
import requests

from tests.servers import Server
from tests.serving.safety import wire
from tests.serving.safety.answers import TIMEOUT_S, Caller, code_of, refusal

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("line", "status"),
    [
        pytest.param(b"GET /livez HTTP/1.1", 200, id="right"),
        pytest.param(b"GET /livez HTTP/1.0", 200, id="http-1.0"),
        pytest.param(b"GET /livez?a=1&a=2#b HTTP/1.1", 200, id="query"),
        pytest.param(b"GET http://elsewhere.invalid/livez HTTP/1.1", 200, id="absolute"),
        pytest.param(b"GET /nothing HTTP/1.1", 404, id="nothing"),
        pytest.param(b"OPTIONS * HTTP/1.1", 404, id="asterisk"),
        pytest.param(b"GET /%00%ff HTTP/1.1", 404, id="nul"),
        pytest.param(b"GET /../../../../etc/passwd HTTP/1.1", 404, id="upwards"),
        pytest.param(b"GET /static/../../configs/serving.yaml HTTP/1.1", 404, id="upwards-from-the-web-files"),
        pytest.param(b"GET /static/%2e%2e/app.py HTTP/1.1", 404, id="upwards-in-percent"),
        pytest.param(b"GET /static_content/../http_app.py HTTP/1.1", 404, id="upwards-from-the-files-of-bentoml"),
        pytest.param(b"GET /static_content/%2e%2e%2fhttp_app.py HTTP/1.1", 404, id="upwards-in-percent-there"),
        pytest.param(b"GET /static_content/" + b"a" * 5000 + b" HTTP/1.1", 404, id="long-path"),
        pytest.param(b"GET /classify_text HTTP/1.1", 405, id="wrong-method"),
        pytest.param(b"BREW /livez HTTP/1.1", 400, id="no-method"),
        pytest.param(b"CONNECT elsewhere.invalid:80 HTTP/1.1", 400, id="proxy"),
        pytest.param(b"PRI * HTTP/2.0", 400, id="http-2"),
        pytest.param(b"GET /\xff HTTP/1.1", 400, id="raw-bytes"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, id="tls"),
    ],
)
def test_an_odd_request_line_is_answered_or_refused(server: Server, line: bytes, status: int) -> None:
    assert wire.send(server, [line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n"]) == status


@pytest.mark.parametrize("path", ["/nothing", "/livezz", "/schema.jsonx", "/info/", "/static/nothing.js"])
def test_an_unknown_path_is_an_error_in_the_one_shape(caller: Caller, path: str) -> None:
    assert refusal(requests.get(f"{caller.url}{path}", timeout=TIMEOUT_S)) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "allowed", "method"),
    [
        *product(
            ["/livez", "/readyz", "/schema.json", "/info", "/", "/static_content/swagger-ui.css"],
            ["GET, HEAD"],
            ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        ),
        *product(["/classify_text", "/classify_images"], ["POST"], ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]),
    ],
)
def test_a_405_names_the_methods_that_are_allowed(caller: Caller, path: str, allowed: str, method: str) -> None:
    response = requests.request(method, f"{caller.url}{path}", timeout=TIMEOUT_S)
    assert response.status_code == 405
    assert method == "HEAD" or code_of(response) == "method_not_allowed"
    assert sorted(response.headers["Allow"].split(", ")) == allowed.split(", ")


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [
        ("1.1", [b"localhost"], 200),
        ("1.1", [], 400),
        ("1.1", [b"localhost", b"elsewhere.invalid"], 400),
        ("1.1", [b"localhost", b"localhost"], 400),
        ("1.0", [], 200),
    ],
)
@pytest.mark.parametrize("path", ["/livez", "/info", "/nothing"])
def test_a_request_has_one_host(server: Server, path: str, version: str, hosts: list[bytes], status: int) -> None:
    """RFC 9112, 3.2; HTTP/1.0 knows no such header."""
    lines = [f"GET {path} HTTP/{version}".encode(), *(b"Host: " + host for host in hosts)]
    expected = 404 if (path, status) == ("/nothing", 200) else status
    assert wire.send(server, [b"\r\n".join([*lines, b"", b""])]) == expected


def test_a_websocket_is_no_way_around_the_key(guarded: Server) -> None:
    head = b"GET /info HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    handshake = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    assert wire.send(guarded, [head + handshake]) in (401, 403)
