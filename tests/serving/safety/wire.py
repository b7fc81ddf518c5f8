"""HTTP written by hand, for requests that no client sends."""

import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from http.client import HTTPResponse

from tests.servers import Server

TIMEOUT_S = 20


def connect(server: Server) -> socket.socket:
    return socket.create_connection((server.host, server.port), TIMEOUT_S)


def head(path: str, **headers: str) -> bytes:
    """Return the head of a POST request; `_` in the name of a header stands for `-`."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def form(blocks: Iterable[bytes]) -> Iterable[bytes]:
    """Yield a form with the boundary `x` whose only file, of the field `image`, has these blocks."""
    yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    yield from blocks
    yield b"\r\n--x--\r\n"


def chunked(blocks: Iterable[bytes]) -> Iterable[bytes]:
    for block in blocks:
        yield b"%x\r\n%s\r\n" % (len(block), block)
    yield b"0\r\n\r\n"


def send(server: Server, parts: Iterable[bytes], pause_s: float = 0) -> int | None:
    """Send until the service closes the connection. Return the status of its response, or None if there is none."""
    with connect(server) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                connection.sendall(part)
                time.sleep(pause_s)
        return _status(connection)


def _status(connection: socket.socket) -> int | None:
    response = HTTPResponse(connection, method="POST")
    try:
        response.begin()
    except OSError:  # among them http.client's BadStatusLine for an empty answer
        return None
    return response.status
