"""What uvicorn leaves open: requests that never end, clients that never read, heads and connections without bound.

And what it is too slow for: to refuse, when there is far more to do than can be done.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, ClassVar

import msgspec
import uvicorn.config
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.drain import Drain
from serving.errors import RequestError, overload
from serving.guard import Guard
from serving.lanes import Lane
from serving.listening import Courtesy
from serving.metrics import TALLY
from serving.settings import Settings
from serving.transport import JoiningTransport

MAX_HEAD_BYTES = 65536  # of headers, after the packet in which they began
GRACE_S = 0.5  # past the deadline, so that a body that is slow hears 408 before its connection is closed
CLOSING_S = 2.0  # for what was answered to be read
RENEWED = 25  # one of so many refusals closes its connection: the client may find a worker that has time
PLAIN_POST = re.compile(rb"POST (/\w+) HTTP/1\.1\r\n")
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *+([^\r]*+)", re.IGNORECASE)
NOT_PLAIN = re.compile(rb"\r\n(?:connection: *+(?!keep-alive\r\n)|transfer-encoding|expect|upgrade)", re.IGNORECASE)


def _response(status: bytes, error: RequestError, *more: tuple[bytes, bytes]) -> bytes:
    body = msgspec.json.encode(error.as_item())
    headers = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *error.headers, *more)
    return b"\r\n".join([b"HTTP/1.1 " + status, *map(b": ".join, headers), b"", body])


CLOSE = (b"connection", b"close")
OVERLOAD = _response(b"429 Too Many Requests", overload())
LAST_OVERLOAD = _response(b"429 Too Many Requests", overload(), CLOSE)


class Deadline:
    """`end` is called with `reason` where what began is not met within `seconds`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, end: Callable[[str], None], reason: str
    ) -> None:
        self.loop = loop
        self.seconds = seconds
        self.end = end
        self.reason = reason
        self.timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Unless it has begun already."""
        if self.timer is None:
            self.timer = self.loop.call_later(self.seconds, self.end, self.reason)

    def met(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Connection(HttpToolsProtocol):
    """Closed if a request, headers and body, is not complete `deadline_s` after it began, or after connecting; if an
    answer is not read for as long; and after `max_requests`, for its client to connect anew, to whichever worker has
    time. One of `RENEWED` refusals does so at once.
    """

    deadline_s: ClassVar[float]
    max_connections: ClassVar[int]
    max_requests: ClassVar[int]
    drain: ClassVar[Drain]
    lanes: ClassVar[Mapping[str, Lane[Any, Any]]]
    refusals: ClassVar[Iterator[int]] = count(1)
    courtesy: ClassVar[Courtesy] = Courtesy()

    def __init__(self, config: uvicorn.config.Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.courtesy.give_way(len(self.connections))
        self.app = _guard_of(config.loaded_app)
        self.access_log = False  # what would stand in a line of it is made even where none is written

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # `pause_writing` then hears of the first byte that is not read
        self.transport = JoiningTransport(transport, self.loop)
        self.in_head = self.in_message = False
        self.head_bytes = 0
        self.requests = 0
        self.reading = Deadline(self.loop, self.deadline_s + GRACE_S, self._cut_off, "request_incomplete")
        self.writing = Deadline(self.loop, self.deadline_s + GRACE_S, self._cut_off, "answer_unread")
        if self.drain.refusing:
            self._cut_off("draining")
        elif len(self.connections) > self.max_connections:
            self._cut_off("too_many_connections")
        else:
            self.reading.begin()

    def data_received(self, data: bytes) -> None:
        if (path := self._hopeless(data)) is not None:
            self._refuse(path)
            return
        self.reading.begin()
        if self.in_head:
            self.head_bytes += len(data)
        if self.head_bytes > MAX_HEAD_BYTES:
            self._cut_off("head_too_large")
        else:
            super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.reading.begin()
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
        self.reading.met()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.writing.begin()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.writing.met()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.reading.met()
        self.writing.met()

    def shutdown(self) -> None:
        """uvicorn waits for each connection to end, and would for one whose client is gone."""
        super().shutdown()
        seconds = CLOSING_S if self._is_idle() else max(CLOSING_S, self.drain.left_s())
        self.loop.call_later(seconds, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """In the shape of all errors."""
        error = RequestError(400, "invalid_http", msg)
        TALLY.refusal(error.code)
        self.transport.write(_response(b"400 Bad Request", error, CLOSE))
        self.transport.close()

    def _hopeless(self, data: bytes) -> str | None:
        """The path, if this is one whole request of the plainest kind, to a lane that has no room.

        What else comes is parsed, and refused later if it must be: that takes several times as long.
        """
        start = PLAIN_POST.match(data)
        lane = self.lanes.get(path := start[1].decode()) if start else None
        if lane is None or lane.expect() or self.in_message or not self._is_idle():
            return None
        body = data.find(b"\r\n\r\n") + 4
        lengths = CONTENT_LENGTH.findall(data, 0, body)
        is_whole = lengths == [b"%d" % (len(data) - body)]
        return path if is_whole and not NOT_PLAIN.search(data, 0, body) else None

    def _refuse(self, path: str) -> None:
        TALLY.hopeless(path)
        self.reading.met()
        self._unset_keepalive_if_required()
        self.requests += 1
        if self.drain.began or self.requests >= self.max_requests or next(self.refusals) % RENEWED == 0:
            self.transport.write(LAST_OVERLOAD)
            self.transport.close()
        else:
            self.transport.write(OVERLOAD)
            handle = self.timeout_keep_alive_handler
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, handle)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _cut_off(self, reason: str) -> None:
        """Whoever is there hears nothing, but the metrics do."""
        TALLY.refusal(reason)
        self.transport.abort()


def _guard_of(app: Any) -> Guard:
    """What uvicorn and BentoML put around it gives each request a task, a timer and a span of its own."""
    while not isinstance(app, Guard):
        app = app.middleware_stack if isinstance(app, Starlette) else app.app
    return app


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
    uvicorn.config.WS_PROTOCOLS["auto"] = None  # they would pass the guard
