"""Parsing of request bodies. All functions raise RequestError for an invalid body."""

import json
import re
from collections.abc import AsyncGenerator
from itertools import islice
from typing import TypeVar

import msgspec
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.requests import Request

from serving.errors import RequestError

FORM = "multipart/form-data"
MAX_FIELDS = 8  # of a form, in addition to its files
# Also matches an unterminated string: otherwise the search would restart at each quote, in quadratic time.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # an escaped surrogate, usually half of a valid pair
MAX_STRUCTURE = 16  # bytes outside the strings of a body per item, to bound the memory of parsing


class TextBody(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class TextsBody(msgspec.Struct, forbid_unknown_fields=True):
    texts: list[str]


BodyT = TypeVar("BodyT", TextBody, TextsBody)


def parse_text(body: bytes) -> str:
    return _parse(body, TextBody).text


def parse_texts(body: bytes, max_items: int) -> list[str]:
    """Return the texts. A text with a lone surrogate is returned, too, so that only this text gets an error."""
    check_string_count(body, max_items + 1)  # 1 for the name of the field
    if SURROGATE.search(body) and len(STRING.sub(b"", body)) < MAX_STRUCTURE * max_items:
        return _parse_surrogates(body)
    return _parse(body, TextsBody).texts


def _parse_surrogates(body: bytes) -> list[str]:
    """Parse by Python's json: msgspec rejects a body with lone surrogates."""
    try:
        return msgspec.convert(json.loads(body), TextsBody).texts
    except msgspec.ValidationError as error:
        raise _wrong_form(TextsBody, error) from error
    except (ValueError, RecursionError) as error:
        raise _no_json(error) from error


def _parse(body: bytes, form: type[BodyT]) -> BodyT:
    """Parse and validate in one pass, to bound the memory of invalid bodies."""
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.ValidationError as error:
        raise _wrong_form(form, error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_json(error) from error


def _wrong_form(form: type[BodyT], error: Exception) -> RequestError:
    fields = ", ".join(form.__struct_fields__)
    return RequestError(400, "invalid_request", f'The body must have exactly the field "{fields}": {error}.')


def _no_json(error: Exception) -> RequestError:
    return RequestError(400, "invalid_json", f"The body is not valid JSON: {error}.")


def check_string_count(body: bytes, most: int) -> None:
    """Reject JSON with more than `most` strings before parsing, to bound its memory."""
    if next(islice(STRING.finditer(body), most, None), None):
        raise RequestError(413, "wrong_item_count", f"The body has more than {most} strings.")


class FormRequest(Request):
    """Request whose form may have a preamble (RFC 2046, 5.1.1), which python-multipart does not support."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        _, options = parse_options_header(self.headers["content-type"])
        delimiter = b"\r\n--" + options.get(b"boundary", b"")
        blocks = super().stream()
        start = b"\r\n"  # the last bytes read, which may be the beginning of the delimiter
        async for block in blocks:
            start += block
            if (position := start.find(delimiter)) >= 0:
                start = start[position + 2 :]
                break
            start = start[-len(delimiter) :]
        yield start
        async for block in blocks:
            yield block


async def read_image(request: Request) -> bytes:
    """Return the file in the form field `image`, or the whole body if it is not a form."""
    if not request.headers["content-type"].lower().startswith(FORM):
        return await request.body()
    form_request = FormRequest(request.scope, request.receive)
    async with form_request.form(max_files=1, max_fields=MAX_FIELDS) as form:
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise RequestError(400, "invalid_request", 'Send one file in the form field "image".')
        return await image.read()


async def read_images(request: Request, max_items: int) -> list[bytes]:
    """Return the files of all fields of the form, at most `max_items` + 1."""
    form_request = FormRequest(request.scope, request.receive)
    async with form_request.form(max_files=max_items + 1, max_fields=MAX_FIELDS) as form:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        return [await file.read() for file in files]
