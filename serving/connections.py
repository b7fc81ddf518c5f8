"""What uvicorn leaves open: requests that never end, clients that never read, heads and connections without bound.

And what it is too slow for: to refuse, when there is far more to do than can be done.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.drain import Drain
from serving.errors import RequestError, overload
from serving.lanes import Lane
from serving.metrics import TALLY
from serving.settings import Settings

MAX_HEAD_BYTES = 65536  # of headers, after the packet in which they began
GRACE_S = 0.5  # past the deadline, so that a body that is slow hears 408 before its connection is closed
CLOSING_S = 2.0  # for what was answered to be read
PLAIN_POST = re.compile(rb"POST (/\w+) HTTP/1\.1\r\n")
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def _response(status: bytes, error: RequestError, *headers: bytes) -> bytes:
    body = msgspec.json.encode(error.as_item())
    lines = [b"HTTP/1.1 " + status, b"content-type: application/json", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


OVERLOAD = _response(b"429 Too Many Requests", overload(), b"retry-after: 1")


class Connection(HttpToolsProtocol):
    """Closed if a request, headers and body, is not complete `deadline_s` after it began, or after connecting.

    And after `max_requests`, for its client to connect anew, to whichever worker has time.
    """

    deadline_s: ClassVar[float]
    max_connections: ClassVar[int]
    max_requests: ClassVar[int]
    drain: ClassVar[Drain]
    lanes: ClassVar[Mapping[str, Lane[Any, Any]]]

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.in_head = self.in_message = False
        self.head_bytes = 0
        self.requests = 0
        self.deadline: asyncio.TimerHandle | None = None
        if self.drain.refusing or len(self.connections) > self.max_connections:
            transport.abort()
        else:
            self._expect()

    def data_received(self, data: bytes) -> None:
        if (path := self._hopeless(data)) is not None:
            self._refuse(path)
            return
        if self.deadline is None:
            self._expect()
        if self.in_head:
            self.head_bytes += len(data)
        if self.head_bytes > MAX_HEAD_BYTES:
            self.transport.abort()
        else:
            super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_head = self.in_message = True
        self.head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:  # not behind a chunked body, where there is no bound
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.in_head = False
        super().on_headers_complete()
        self.requests += 1
        if self.requests >= self.max_requests:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.in_message = False
        self._wait_no_more()

    def pause_writing(self) -> None:
        """The client does not read: this too must end."""
        super().pause_writing()
        self._expect()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._wait_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wait_no_more()

    def shutdown(self) -> None:
        """uvicorn waits for each connection to end, and would for one whose client is gone."""
        super().shutdown()
        self.loop.call_later(CLOSING_S, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """In the shape of all errors."""
        error = RequestError(400, "invalid_http", msg)
        self.transport.write(_response(b"400 Bad Request", error, b"connection: close"))
        self.transport.close()

    def _hopeless(self, data: bytes) -> str | None:
        """The path, if this is one whole request of the plainest kind, to a lane that is overloaded.

        What else comes is parsed, and refused later if it must be: that takes several times as long.
        """
        start = PLAIN_POST.match(data)
        lane = self.lanes.get(path := start[1].decode()) if start else None
        if lane is None or not lane.overloaded or not lane.is_full():
            return None
        if self.in_message or (self.cycle is not None and not self.cycle.response_complete):
            return None
        body = data.find(b"\r\n\r\n") + 4
        length = CONTENT_LENGTH.search(data, 0, body)
        return path if length and body + int(length[1]) == len(data) else None

    def _refuse(self, path: str) -> None:
        self.transport.write(OVERLOAD)
        self._wait_no_more()
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        TALLY.hopeless(path)

    def _expect(self) -> None:
        self._wait_no_more()
        self.deadline = self.loop.call_later(self.deadline_s + GRACE_S, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


def install(drain: Drain, settings: Settings, lanes: Mapping[str, Lane[Any, Any]]) -> None:
    """BentoML leaves the choice of the protocol to uvicorn; this is what uvicorn chooses from then on.

    `lanes` by the path of the POST whose requests wait there.
    """
    Connection.drain = drain
    Connection.deadline_s = settings.deadline_s
    Connection.max_connections = settings.max_connections
    Connection.max_requests = settings.max_requests
    Connection.lanes = lanes
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
