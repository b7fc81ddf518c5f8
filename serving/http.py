"""Requests and replies as this service has them, on ASGI. Raises RequestError for what a caller did wrong."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Self, TypeVar

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Receive, Scope, Send

from serving.errors import RequestError, overload

RawHeaders = list[tuple[bytes, bytes]]
# One that does not end counts as well: were it no match, each quote in it would be tried anew, up to the end.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Request:
    """`media_type` without parameters, lower case; `content_type` with them."""

    media_type: str
    content_type: bytes
    body: bytes


class Reply(NamedTuple):
    status: int
    headers: RawHeaders
    body: bytes


def json_reply(content: Any, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> Reply:
    return Reply(status, [JSON, *headers], msgspec.json.encode(content))


def problem(error: RequestError) -> Reply:
    """The one shape of errors."""
    return json_reply(error.as_item(), error.status, error.headers)


async def send_reply(send: Send, reply: Reply, last: bool) -> None:
    """`last` of its connection."""
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    if last:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def header(scope: Scope, name: bytes) -> bytes:
    """The first of that name, or nothing."""
    for key, value in scope["headers"]:
        if key == name:
            return value
    return b""


class Budget:
    """Of bytes of bodies that a worker holds at one time."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used = 0


class Held:
    """What one request has taken of the budget, until the block ends."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.budget.used -= self.size

    def take(self, size: int) -> None:
        """Raises RequestError 429 where the budget does not allow it."""
        if self.budget.used + size > self.budget.max_bytes:
            raise overload()
        self.budget.used += size
        self.size += size


async def read_body(scope: Scope, receive: Receive, max_bytes: int, held: Held) -> bytes:
    """A body that grows beyond the limit is refused whatever its header claimed."""
    declared = header(scope, b"content-length")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(400, "incomplete_body", "the connection closed before the body was complete")
        chunk = message.get("body", b"")
        if held.size + len(chunk) > max_bytes:
            raise _too_large(max_bytes)
        held.take(len(chunk))
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(413, "body_too_large", f"the body is larger than {max_bytes} bytes")


class TextBody(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class TextsBody(msgspec.Struct, forbid_unknown_fields=True):
    texts: list[str]


BodyT = TypeVar("BodyT", TextBody, TextsBody)


def parse_json(body: bytes, form: type[BodyT]) -> BodyT:
    """Checked while it is read: what is of another form would take many times the memory of the body."""
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.ValidationError as error:
        fields = ", ".join(form.__struct_fields__)
        raise RequestError(400, "invalid_request", f'the body must have the one field "{fields}": {error}') from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(400, "invalid_json", f"the body is not JSON: {error}") from error


def check_strings(body: bytes, most: int) -> None:
    """Of JSON, ahead of its parsing: millions of strings would take many times the memory of the body."""
    if next(islice(STRING.finditer(body), most, None), None):
        raise RequestError(413, "wrong_item_count", f"the body has more than {most} strings")


class Part(NamedTuple):
    name: bytes
    filename: bytes | None
    content: bytes


def parse_form(request: Request, max_parts: int) -> list[Part]:
    """The parts of a multipart body (RFC 7578)."""
    try:
        boundary = parse_options_header(request.content_type)[1][b"boundary"]
        reader = _PartReader(boundary, max_parts)
        reader.parser.write(request.body)
        reader.parser.finalize()
    except KeyError as error:
        raise _unreadable(f"no {error.args[0].decode()}") from error
    except (FormParserError, ValueError) as error:
        raise _unreadable(str(error)) from error
    if reader.unfinished:
        raise _unreadable("its last part does not end")
    return reader.parts


def _unreadable(reason: str) -> RequestError:
    return RequestError(400, "invalid_multipart", f"the multipart body cannot be read: {reason}")


class _PartReader:
    """Puts together what the parser calls out."""

    def __init__(self, boundary: bytes, max_parts: int) -> None:
        self.max_parts = max_parts
        self.parts: list[Part] = []
        self.unfinished = True  # until the closing boundary
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }
        self.parser = MultipartParser(boundary, callbacks)

    def _begin(self) -> None:
        if len(self.parts) == self.max_parts:
            raise RequestError(413, "too_many_parts", f"the form has more than {self.max_parts} parts")
        self.headers: dict[bytes, bytes] = {}
        self.field = self.value = b""
        self.chunks: list[bytes] = []

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self.field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def _header_end(self) -> None:
        self.headers[self.field.lower()] = self.value
        self.field = self.value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.chunks.append(data[start:end])

    def _end(self) -> None:
        _, options = parse_options_header(self.headers[b"content-disposition"])
        self.parts.append(Part(options[b"name"], options.get(b"filename"), b"".join(self.chunks)))

    def _finish(self) -> None:
        self.unfinished = False
