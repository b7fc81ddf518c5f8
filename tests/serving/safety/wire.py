"""HTTP by hand, for what no client would send."""

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
    """Of a POST; `_` in a name stands for `-`."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def chunked(blocks: Iterable[bytes]) -> Iterable[bytes]:
    for block in blocks:
        yield b"%x\r\n%s\r\n" % (len(block), block)
    yield b"0\r\n\r\n"


def send(server: Server, parts: Iterable[bytes], pause_s: float = 0) -> int | None:
    """Send until the service hangs up; the status of its answer, None without one."""
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
