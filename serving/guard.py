"""The first middleware: who may ask, for what, with how much, and how long; every refusal has one shape.

Ahead of BentoML's own routes, whose parser answers 500 to a broken multipart body, picks decoders by the caller's
content type, fetches URLs given in place of files, and knows no body limit.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.drain import Drain
from serving.errors import RequestError
from serving.http import Budget, Held, Reply, Request, header, problem, read_body, send_reply
from serving.metrics import TALLY

LOGGER = logging.getLogger("bentoml.relu_pipeline")
OTHER = "other"  # the endpoint of paths that are none, in metrics


@dataclass(frozen=True)
class Endpoint:
    """`accepts`: media types, or all that begin so, up to the slash; `admit` raises RequestError ahead of the body."""

    answer: Callable[[Request], Awaitable[Reply]]
    accepts: tuple[str, ...] = ()
    max_bytes: int = 0
    admit: Callable[[], None] | None = None
    needs_key: bool = True

    @property
    def methods(self) -> tuple[str, ...]:
        return ("POST",) if self.accepts else ("GET", "HEAD")


class Guard:
    """`passed`, and paths below `passed_below`: these go on to BentoML, for GET alone, without a key."""

    def __init__(
        self,
        app: ASGIApp,
        endpoints: Mapping[str, Endpoint],
        passed: tuple[str, ...],
        passed_below: str,
        key: str | None,
        deadline_s: float,
        max_held_bytes: int,
        drain: Drain,
    ) -> None:
        self.app = app
        self.endpoints = endpoints
        self.passed = passed
        self.passed_below = passed_below
        self.authorization = f"Bearer {key}".encode() if key else None
        self.deadline_s = deadline_s
        self.budget = Budget(max_held_bytes)
        self.drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_passed(scope):
            await self.app(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    def _is_passed(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return (path in self.passed or path.startswith(self.passed_below)) and scope["method"] in ("GET", "HEAD")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        is_work = scope["method"] == "POST"  # a scrape shall not count itself
        TALLY.in_flight += is_work
        try:
            reply = await self._reply(scope, receive)
            await send_reply(send, reply, last=self.drain.began)
        finally:
            TALLY.in_flight -= is_work
        endpoint = scope["path"] if scope["path"] in self.endpoints else OTHER
        TALLY.request(endpoint, reply.status, time.perf_counter() - started)

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        try:
            endpoint = self._endpoint(scope)
            media_type, content_type = _media_type(scope)
            if endpoint.accepts and not _is_accepted(media_type, endpoint.accepts):
                raise _unsupported(media_type, endpoint.accepts)
            if endpoint.admit:
                endpoint.admit()
            with Held(self.budget) as held:
                async with asyncio.timeout(self.deadline_s):
                    body = await read_body(scope, receive, endpoint.max_bytes, held) if endpoint.accepts else b""
                    return await endpoint.answer(Request(media_type, content_type, body))
        except TimeoutError:
            return _refuse(RequestError(408, "deadline_exceeded", f"no answer within {self.deadline_s:g} s"))
        except RequestError as error:
            return _refuse(error)
        except Exception:  # a bug of ours: in the log, and in the one shape
            LOGGER.exception("%s %s failed", scope["method"], scope["path"])
            return _refuse(RequestError(500, "internal_error", "the service failed; its log says why"))

    def _endpoint(self, scope: Scope) -> Endpoint:
        endpoint = self.endpoints.get(scope["path"])
        if (endpoint is None or endpoint.needs_key) and not self._has_key(scope):
            message = "send the service's key as `Authorization: Bearer KEY`"
            raise RequestError(401, "unauthorized", message, (b"www-authenticate", b"Bearer"))
        if endpoint is None:
            raise RequestError(404, "not_found", f"there is no such path; /docs lists {', '.join(self.endpoints)}")
        if scope["method"] not in endpoint.methods:
            message = f"{scope['path']} takes {endpoint.methods[0]}, not {scope['method']}"
            allowed = ", ".join(endpoint.methods).encode()
            raise RequestError(405, "method_not_allowed", message, (b"allow", allowed))
        return endpoint

    def _has_key(self, scope: Scope) -> bool:
        return not self.authorization or hmac.compare_digest(header(scope, b"authorization"), self.authorization)


def _refuse(error: RequestError) -> Reply:
    TALLY.refusal(error.code)
    return problem(error)


def _is_accepted(media_type: str, accepted: tuple[str, ...]) -> bool:
    kind, slash, _ = media_type.partition("/")
    return media_type in accepted or kind + slash in accepted


def _media_type(scope: Scope) -> tuple[str, bytes]:
    content_type = header(scope, b"content-type")
    return content_type.partition(b";")[0].strip().lower().decode("latin-1"), content_type


def _unsupported(media_type: str, accepted: tuple[str, ...]) -> RequestError:
    choices = " or ".join(f"{kind}*" if kind.endswith("/") else kind for kind in accepted)
    return RequestError(415, "unsupported_media_type", f"content type {media_type or '(none)'}; send {choices}")
