"""ASGI middleware for all routes: request ID, API key, media type, body size, concurrency and deadline.

It bypasses BentoML's own API routes, which return 500 for a malformed form, choose decoders by the client's content
type, fetch URLs that are sent instead of files, and have no body limit. Only `BENTOML_PATHS` are forwarded to BentoML.
"""

import asyncio
import hmac
import json
import logging
import random
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.batching import RequestQueue, Slots
from serving.drain import Drain
from serving.errors import RETRY, RequestError, overloaded
from serving.metrics import REQUEST_DURATION, REQUESTS
from serving.responses import problem

BENTOML_PATHS = ("/livez", "/readyz", "/healthz", "/schema.json")  # probes, and the schema that BentoML's client reads
BENTOML_PREFIX = "/static_content/"  # Swagger UI, for /docs
PUBLIC_PATHS = ("/", "/docs", "/docs.json", "/v2/health/live", "/v2/health/ready", *BENTOML_PATHS)
PUBLIC_PREFIXES = ("/static/", BENTOML_PREFIX)
REQUEST_ID = re.compile(rb"[\w.:/+=@-]{1,128}", re.ASCII)
SINGLE_HEADERS = (b"host", b"content-type", b"content-encoding", b"authorization")
# Delay of responses 429, so that clients which retry at once do not keep a worker busy; random, so that clients which
# are rejected together do not retry together.
HOLD_S = (0.1, 0.3)
CLIENT_LEFT = 499  # nginx's status, for metrics and logs
ACCESS = logging.getLogger("relu_pipeline.access")


@dataclass(frozen=True)
class Intake:
    """Limits of an endpoint: media types (or prefixes that end with a slash), body size, concurrency and queue."""

    media_types: tuple[str, ...]
    max_bytes: int
    slots: Slots
    queue: RequestQueue[Any, Any] | None = None


class ServiceMiddleware:
    """Middleware that checks a request and forwards it to `service`, or to BentoML for `BENTOML_PATHS`.

    `intakes` has the limits of the POST endpoints of `service` by path; `buffered_bytes` limits the total size of the
    bodies in memory.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: Starlette,
        intakes: Mapping[str, Intake],
        drain: Drain,
        key: str | None,
        deadline_s: float,
        buffered_bytes: int,
        access_log: bool,
    ) -> None:
        self.bentoml = app
        self.service = service
        self.intakes = intakes
        self.drain = drain
        self.key = key.encode() if key else None
        self.deadline_s = deadline_s
        self.budget = MemoryBudget(buffered_bytes)
        self.access_log = access_log
        self.paths = {getattr(route, "path", "") for route in service.routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.bentoml(scope, receive, send)
            return
        exchange = Exchange(scope, send, self.drain)
        try:
            await self._admit(scope, receive, exchange)
        except RequestError as error:
            if error.status == 429:
                await asyncio.sleep(random.uniform(*HOLD_S))  # noqa: S311  # not used for security
            await problem(error, exchange.request_id)(scope, receive, exchange.send)
        finally:
            self._record(exchange)

    async def _admit(self, scope: Scope, receive: Receive, exchange: "Exchange") -> None:
        path = scope["path"]
        exchange.check_head()
        self._check_key(path, exchange.headers)
        if path in BENTOML_PATHS or path.startswith(BENTOML_PREFIX):
            exchange.check_is_read()
            await self.bentoml(scope, receive, exchange.send)
        elif path in self.intakes and scope["method"] == "POST":
            await self._serve(self.intakes[path], scope, receive, exchange)
        else:
            await self.service(scope, receive, exchange.send)

    def _check_key(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        if self.key is None or path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES):
            return
        scheme, _, key = headers.get(b"authorization", b"").strip().partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(key.strip(), self.key):
            message = "Send the API key as `Authorization: Bearer KEY`."
            raise RequestError(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})

    async def _serve(self, intake: Intake, scope: Scope, receive: Receive, exchange: "Exchange") -> None:
        exchange.check_body(intake)
        if self.drain.refusing:
            raise RequestError(503, "draining", "The service is shutting down.", RETRY)
        if intake.queue and intake.queue.should_shed():
            raise overloaded()
        with intake.slots, Body(receive, intake.max_bytes, self.budget) as body:
            try:
                async with asyncio.timeout(self.deadline_s):
                    await self.service(scope, body, exchange.send)
            except TimeoutError:
                if exchange.status:  # the response has started, but the client does not read it
                    raise
                raise _late(body, self.deadline_s) from None

    def _record(self, exchange: "Exchange") -> None:
        seconds = time.perf_counter() - exchange.started
        path, status = exchange.scope["path"], exchange.status or CLIENT_LEFT
        endpoint = path if path in self.paths else "other"
        REQUESTS.labels(endpoint, status).inc()
        REQUEST_DURATION.labels(endpoint).observe(seconds)
        if self.access_log:
            ACCESS.info(exchange.log_line(status, seconds))


class Exchange:
    """Request head and response status. The checks raise RequestError."""

    def __init__(self, scope: Scope, send: Send, drain: Drain) -> None:
        self.started = time.perf_counter()
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.drain = drain
        self.status = 0  # until the response starts
        self._send = send
        given = self.headers.get(b"x-request-id", b"")
        self.request_id = given.decode() if REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        scope.setdefault("state", {})["request_id"] = self.request_id

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message["headers"], (b"x-request-id", self.request_id.encode())]
            if self.drain.began:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    def check_head(self) -> None:
        names = [name for name, _ in self.scope["headers"]]
        if b"host" not in names and self.scope["http_version"] == "1.1":
            raise RequestError(400, "invalid_http", "The request has no header Host.")
        for name in SINGLE_HEADERS:  # duplicates could make the checks here use another value than later code
            if names.count(name) > 1:
                raise RequestError(400, "invalid_http", f"The request has several headers {name.decode()}; send one.")
        has_body = self.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self.headers
        if b"upgrade" in self.headers and has_body:
            # uvicorn drops the body or parses it as the next request (https://github.com/Kludex/uvicorn/issues/2722).
            message = "A request with a body cannot be upgraded; send it without the header Upgrade."
            raise RequestError(400, "invalid_http", message, {"Connection": "close"})

    def check_is_read(self) -> None:
        if self.scope["method"] not in ("GET", "HEAD"):
            raise RequestError(405, "method_not_allowed", f"{self.scope['path']} supports GET.", {"Allow": "GET, HEAD"})

    def check_body(self, intake: Intake) -> None:
        encoding = self.headers.get(b"content-encoding", b"identity").decode("latin-1")
        if encoding.lower() != "identity":
            message = f"Content encoding {encoding} is not supported; send the body uncompressed."
            raise RequestError(415, "unsupported_media_type", message, {"Accept-Encoding": "identity"})
        content_type = self.headers.get(b"content-type", b"").decode("latin-1")
        media_type = content_type.partition(";")[0].strip().lower()
        if not _is_accepted(media_type, intake.media_types):
            choices = " or ".join(f"{kind}*" if kind.endswith("/") else kind for kind in intake.media_types)
            message = f"Content type {media_type or '(none)'} is not supported; send {choices}."
            raise RequestError(415, "unsupported_media_type", message)
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > intake.max_bytes:
            raise too_large(intake.max_bytes)

    def log_line(self, status: int, seconds: float) -> str:
        client = self.scope.get("client") or ("",)
        return json.dumps(
            {
                "request_id": self.request_id,
                "client": client[0],
                "method": self.scope["method"],
                "path": self.scope["path"],
                "status": status,
                "duration_ms": round(1000 * seconds, 3),
            }
        )


class MemoryBudget:
    """Limit of the total size of the request bodies that a worker holds."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used = 0


class Body:
    """ASGI `receive` that limits the size of the body, and counts it towards `budget` until the block ends."""

    def __init__(self, receive: Receive, max_bytes: int, budget: MemoryBudget) -> None:
        self.receive = receive
        self.max_bytes = max_bytes
        self.budget = budget
        self.size = 0
        self.is_complete = False

    def __enter__(self) -> "Body":
        return self

    def __exit__(self, *_: object) -> None:
        self.budget.used -= self.size

    async def __call__(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.request":
            self._add(len(message.get("body", b"")))
            self.is_complete = not message.get("more_body", False)
        return message

    def _add(self, size: int) -> None:
        if self.size + size > self.max_bytes:
            raise too_large(self.max_bytes)
        if self.budget.used + size > self.budget.max_bytes:
            raise overloaded()
        self.size += size
        self.budget.used += size


def _is_accepted(media_type: str, accepted: tuple[str, ...]) -> bool:
    kind, slash, _ = media_type.partition("/")
    return media_type in accepted or kind + slash in accepted


def too_large(max_bytes: int) -> RequestError:
    return RequestError(413, "body_too_large", f"The body is larger than {max_bytes} bytes.")


def _late(body: Body, deadline_s: float) -> RequestError:
    """Return the error for an exceeded deadline: 408 if the body is incomplete, else 503."""
    if body.is_complete:
        return RequestError(503, "deadline_exceeded", f"No prediction within {deadline_s:g} s.", RETRY)
    message = f"The body was not complete within {deadline_s:g} s."
    return RequestError(408, "request_timeout", message, {"Connection": "close", **RETRY})
