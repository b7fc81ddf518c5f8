"""HTTP by hand, and a service that tells what reached it."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import requests

TIMEOUT_S = 20


def connect(url: str, address: str = "127.0.0.1") -> socket.socket:
    """Connect from `address`."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), TIMEOUT_S, source_address=(address, 0))


def post_head(path: str, length: int) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: a", "Content-Type: application/json", f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode()


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the other side ends the connection; fails if it does not."""
    received = b""
    with suppress(ConnectionResetError, BrokenPipeError):
        while block := connection.recv(65536):
            received += block
    return received


def refusal(answer: requests.Response) -> tuple[int, str]:
    """Return status and code of one of nginx's errors, which must have the shape of all errors."""
    assert answer.headers["Content-Type"] == "application/json"
    content = answer.json()
    assert set(content) == {"error"}
    assert set(content["error"]) == {"code", "message", "request_id"}
    assert all(content["error"].values())
    assert answer.headers["X-Request-ID"] == content["error"]["request_id"]
    return answer.status_code, content["error"]["code"]


def answered(url: str, endpoint: str) -> float:
    """Return how many requests for `endpoint` have reached the service at `url`."""
    lines = requests.get(f"{url}/metrics", timeout=TIMEOUT_S).text.splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("relu_requests_total{") and f'endpoint="{endpoint}"' in line
    )


@contextmanager
def echo(delay_s: float = 0) -> Iterator[tuple[int, list[str]]]:
    """Yield the port of a server that answers with the headers that it got, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            paths.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            time.sleep(delay_s)
            body = json.dumps(dict(self.headers)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port, paths
        finally:
            server.shutdown()
            thread.join()
