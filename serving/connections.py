"""What uvicorn leaves open: requests that never end, clients that never read, heads and connections without bound."""

import asyncio
from typing import Any, ClassVar

import orjson
import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.drain import Drain
from serving.errors import RequestError

MAX_HEAD_BYTES = 65536  # of headers, after the packet in which they began
GRACE_S = 0.5  # past the deadline, so that a body that is slow hears 408 before its connection is closed
CLOSING_S = 2.0  # for what was answered to be read


class Connection(HttpToolsProtocol):
    """Closed if a request, headers and body, is not complete `deadline_s` after it began, or after connecting."""

    deadline_s: ClassVar[float]
    max_connections: ClassVar[int]
    drain: ClassVar[Drain]

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.in_head = False
        self.head_bytes = 0
        self.deadline: asyncio.TimerHandle | None = None
        if self.drain.refusing or len(self.connections) > self.max_connections:
            transport.abort()
        else:
            self._expect()

    def data_received(self, data: bytes) -> None:
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
        self.in_head = True
        self.head_bytes = 0

    def on_headers_complete(self) -> None:
        self.in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
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
        body = orjson.dumps(RequestError(400, "invalid_http", msg).as_item())
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(body)
        self.transport.write(head + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _expect(self) -> None:
        self._wait_no_more()
        self.deadline = self.loop.call_later(self.deadline_s + GRACE_S, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


def install(drain: Drain, deadline_s: float, max_connections: int) -> None:
    """BentoML leaves the choice of the protocol to uvicorn; this is what uvicorn chooses from then on."""
    Connection.drain = drain
    Connection.deadline_s = deadline_s
    Connection.max_connections = max_connections
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
