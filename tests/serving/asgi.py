"""A client of ASGI applications that controls every message: partial bodies, duplicate headers, disconnects."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.app import create_app, intakes
from serving.drain import Drain
from serving.middleware import ServiceMiddleware
from serving.predictor import Predictor

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """`body` in chunks. `end` says what follows them.

    "complete": the body is complete, and the client waits for the answer; "stall": no more comes; "disconnect": the
    client leaves before the body is complete; "leave": it leaves as soon as the body is complete.
    """

    method: str = "GET"
    path: str = "/"
    headers: Headers = ()
    body: Sequence[bytes] = (b"",)
    end: str = "complete"
    hosts: Sequence[str] = ("service",)
    http_version: str = "1.1"
    type: str = "http"

    def scope(self) -> Scope:
        headers = [*(("host", host) for host in self.hosts), *self.headers]
        return {
            "type": self.type,
            "asgi": {"version": "3.0"},
            "http_version": self.http_version,
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            "client": ("192.0.2.1", 50000),
            "server": ("service", 80),
        }

    def messages(self) -> list[Message]:
        chunks = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in self.body]
        if self.end in ("complete", "leave"):
            chunks[-1]["more_body"] = False
        return [*chunks, {"type": "http.disconnect"}] if self.end in ("disconnect", "leave") else chunks


@dataclass(frozen=True)
class Response:
    """What the application sent; `status` is 0 if it sent nothing. `received`: bytes of the body that it read."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    received: int

    def header(self, name: str) -> str | None:
        """Return the value of the one header of this name, or None. Fails if there are several."""
        values = [value for found, value in self.headers if found == name.lower()]
        assert len(values) <= 1
        return values[0] if values else None

    @property
    def error(self) -> dict[str, Any]:
        """The error, which has the form of all errors."""
        content = json.loads(self.body)
        assert set(content) == {"error"}
        assert set(content["error"]) == {"code", "message", "request_id"}
        return content["error"]


class Exchange:
    """A request that is being answered. After the last message of the response the client leaves."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.incoming = request.messages()
        self.sent: list[Message] = []
        self.received = 0
        self.answered = asyncio.Event()

    async def receive(self) -> Message:
        if not self.incoming:
            await (asyncio.Event().wait() if self.request.end == "stall" else self.answered.wait())
            return {"type": "http.disconnect"}
        message = self.incoming.pop(0)
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.answered.set()

    async def run(self, app: ASGIApp) -> Response:
        await app(self.request.scope(), self.receive, self.send)
        return self.response()

    def response(self) -> Response:
        """Return what was sent so far. Fails if it is not one response."""
        starts = [message for message in self.sent if message["type"] == "http.response.start"]
        assert self.sent[:1] == starts
        start = starts[0] if starts else {"status": 0, "headers": []}
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
        body = b"".join(message.get("body", b"") for message in self.sent[1:])
        return Response(start["status"], headers, body, self.received)


async def bentoml(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nothing is asked of BentoML here")


def service_of(predictor: Predictor, key: str | None = None) -> ASGIApp:
    """Return what `serving.service` puts in front of BentoML."""
    settings = predictor.settings
    return ServiceMiddleware(
        bentoml,
        service=create_app(predictor),
        intakes=intakes(predictor),
        drain=Drain(0, 1, lambda: 0),
        key=key,
        deadline_s=settings.deadline_s,
        buffered_bytes=settings.limits.buffered_bytes,
        access_log=False,
    )
