"""From a request's body to its items: JSON, forms and raw images, and errors for bodies of another form."""

import asyncio
import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.routing import Route
from urllib3.filepost import encode_multipart_formdata

from serving.errors import RequestError
from serving.requests import MAX_FIELDS, STRING, parse_text, parse_texts, read_image, read_images
from tests.serving.asgi import Exchange, Request

MAX_ITEMS = 5
BOUNDARY = "boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
TEXTS = st.lists(st.text(), max_size=MAX_ITEMS)
LONE = st.text(st.characters(categories=["Cs"]), min_size=1, max_size=3)
SOME_LONE = st.lists(st.one_of(st.text(), LONE), min_size=1, max_size=MAX_ITEMS)


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Fill the given list with the most bytes that Python allocated at one time in the block."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def error_of(parse: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        parse()
    return caught.value.status, caught.value.code


@given(st.text(), st.booleans())
def test_the_text_of_a_body_is_returned(text: str, ascii_only: bool) -> None:
    assert parse_text(json.dumps({"text": text}, ensure_ascii=ascii_only).encode()) == text


@given(TEXTS, st.booleans())
def test_the_texts_of_a_body_are_returned(texts: list[str], ascii_only: bool) -> None:
    assert parse_texts(json.dumps({"texts": texts}, ensure_ascii=ascii_only).encode(), MAX_ITEMS) == texts


@given(SOME_LONE)
def test_a_lone_surrogate_is_no_error_of_the_other_texts(texts: list[str]) -> None:
    """`check_text` refuses it, as an error of its item."""
    found = parse_texts(json.dumps({"texts": texts}).encode(), MAX_ITEMS)
    assert found == [json.loads(json.dumps(text)) for text in texts]  # halves that meet are a pair


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b'{"text": "\xff"}', "invalid_json"),
        (b'{"text": "\\ud800"}', "invalid_json"),
        (b'{"text": "a"} b', "invalid_json"),
        (b"[" * 100_000, "invalid_request"),
        (b"[]", "invalid_request"),
        (b"{}", "invalid_request"),
        (b'"a"', "invalid_request"),
        (b'{"text": 5}', "invalid_request"),
        (b'{"text": null}', "invalid_request"),
        (b'{"text": "a", "more": 1}', "invalid_request"),
    ],
)
def test_a_body_of_another_form_than_one_text_is_an_error(body: bytes, code: str) -> None:
    assert error_of(lambda: parse_text(body)) == (400, code)


SURROGATE = '"\\ud800"'


@pytest.mark.parametrize("item", ['"a"', SURROGATE], ids=["plain", "lone surrogate"])
@pytest.mark.parametrize(
    ("form", "code"),
    [
        ('{"texts": [%s', "invalid_json"),
        ('{"texts": [%s]} b', "invalid_json"),
        ('{"texts": [%s, tru]}', "invalid_json"),
        ("[%s]", "invalid_request"),
        ('{"texts": {"a": %s}}', "invalid_request"),
        ('{"texts": [%s, 5]}', "invalid_request"),
        ('{"texts": [%s, null]}', "invalid_request"),
        ('{"texts": [[%s]]}', "invalid_request"),
        ('{"texts": [%s], "more": 1}', "invalid_request"),
    ],
)
def test_a_body_of_another_form_than_texts_is_an_error(form: str, item: str, code: str) -> None:
    assert error_of(lambda: parse_texts((form % item).encode(), MAX_ITEMS)) == (400, code)


def test_one_string_in_place_of_texts_is_an_error() -> None:
    assert error_of(lambda: parse_texts(b'{"texts": "a"}', MAX_ITEMS)) == (400, "invalid_request")
    assert error_of(lambda: parse_texts(b'{"texts": "\\ud800"}', MAX_ITEMS))[0] == 400


def test_deeply_nested_json_is_an_error() -> None:
    for body in (b"[" * 100_000, b'{"texts": ["\\ud800", ' + b"[" * 60):
        assert error_of(lambda body=body: parse_texts(body, MAX_ITEMS))[0] == 400
    nested = b'{"texts": ["\\ud800", ' + b"[" * 100_000
    assert error_of(lambda: parse_texts(nested, 100_000))[0] == 400


def test_too_many_strings_are_refused_before_they_are_parsed() -> None:
    most = b'{"texts": [' + b'"a",' * (MAX_ITEMS - 1) + b'"a"]}'
    assert parse_texts(most, MAX_ITEMS) == ["a"] * MAX_ITEMS
    broken = b'{"texts": [' + b'"a",' * (MAX_ITEMS + 1)  # no JSON: that it is not parsed shows in the code
    assert error_of(lambda: parse_texts(broken, MAX_ITEMS)) == (413, "wrong_item_count")


@pytest.mark.parametrize("text", [b"a", b"\\ud800"], ids=["plain", "lone surrogate"])
def test_a_body_of_another_form_takes_little_more_memory_than_its_size(text: bytes) -> None:
    """A parser that does not know the form would first make an object of each empty list."""
    body = b'{"texts": ["' + text + b'"' + b",[]" * 300_000 + b"]}"
    with peak_memory() as peak:
        assert error_of(lambda: parse_texts(body, MAX_ITEMS))[0] == 400
    assert peak[0] < 4 * len(body)


def test_a_string_without_an_end_is_searched_once() -> None:
    """Were it tried anew at each of its quotes, a body of some kilobytes would hold a worker for minutes."""
    assert len(STRING.findall(b'"' + b'\\"' * 20_000)) == 1


async def one(request: StarletteRequest) -> JSONResponse:
    return JSONResponse((await read_image(request)).decode())


async def several(request: StarletteRequest) -> JSONResponse:
    return JSONResponse([image.decode() for image in await read_images(request, MAX_ITEMS)])


async def answer_error(request: StarletteRequest, error: RequestError) -> JSONResponse:
    return JSONResponse(error.code, error.status)


APP = Starlette(
    routes=[Route("/one", one, methods=["POST"]), Route("/several", several, methods=["POST"])],
    exception_handlers={RequestError: answer_error},
)


def post(path: str, body: bytes, content_type: str) -> tuple[int, Any]:
    """Return the status and what was read, or the error's code; the text of an error of Starlette's parser."""
    request = Request("POST", path, [("Content-Type", content_type)], [body[:50], body[50:]])
    response = asyncio.run(Exchange(request).run(APP))
    is_json = response.header("content-type") == "application/json"
    return response.status, json.loads(response.body) if is_json else response.body.decode()


def form(*parts: tuple[str, Any]) -> bytes:
    """Return the multipart body; the value of a part is a string, or a tuple of a file's name and content."""
    return encode_multipart_formdata(parts, BOUNDARY)[0]


FILE = ("a.png", b"pixels")


@pytest.mark.parametrize("content_type", ["image/png", "image/x", "IMAGE/PNG"])
def test_a_body_that_is_no_form_is_the_image(content_type: str) -> None:
    assert post("/one", b"pixels" * 50, content_type) == (200, "pixels" * 50)


@pytest.mark.parametrize("content_type", [FORM, FORM.replace("multipart", "Multipart"), f"{FORM}; charset=utf-8"])
def test_the_image_is_the_file_in_its_field(content_type: str) -> None:
    assert post("/one", form(("more", "value"), ("image", FILE)), content_type) == (200, "pixels")


@pytest.mark.parametrize("size", [1, 2, 7, 13, 1000])
@pytest.mark.parametrize("preamble", [b"", b"\r\n", b"text\r\n", b"-\r\n--\r\n--bound\r\n"])
def test_a_form_may_have_a_preamble_however_it_is_cut_into_chunks(preamble: bytes, size: int) -> None:
    body = preamble + form(("image", FILE), ("more", "value"))
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    request = Request("POST", "/one", [("Content-Type", FORM)], chunks)
    response = asyncio.run(Exchange(request).run(APP))
    assert (response.status, json.loads(response.body)) == (200, "pixels")


def test_the_preamble_of_a_form_may_be_large() -> None:
    """It is dropped while it is read."""
    chunks = [bytes(100_000)] * 100 + [b"\r\n" + form(("image", FILE))]
    exchange = Exchange(Request("POST", "/one", [("Content-Type", FORM)], chunks))
    with peak_memory() as peak:
        response = asyncio.run(exchange.run(APP))
    assert (response.status, json.loads(response.body)) == (200, "pixels")
    assert peak[0] < 2_000_000


@pytest.mark.parametrize("body", [form(("picture", FILE)), form(("image", "http://a/a.png")), form(("more", "value"))])
def test_a_form_without_a_file_in_its_field_is_an_error(body: bytes) -> None:
    assert post("/one", body, FORM) == (400, "invalid_request")


def test_the_images_are_all_files_of_a_form_in_order() -> None:
    files = [("a.png", b"1"), ("b.png", b"2"), ("", b"3"), ("d.png", b"")]
    parts = [("images", files[0]), ("text", "no file"), ("other", files[1]), ("images", files[3])]
    assert post("/several", form(*parts), FORM) == (200, ["1", "2", ""])
    assert post("/several", form(("text", "no file")), FORM) == (200, [])


def test_one_file_more_than_the_limit_is_read_so_that_the_count_is_refused() -> None:
    files = [("images", FILE)] * (MAX_ITEMS + 1)
    assert post("/several", form(*files), FORM) == (200, ["pixels"] * (MAX_ITEMS + 1))
    assert post("/several", form(*files, ("images", FILE)), FORM)[0] == 400


@pytest.mark.parametrize("path", ["/one", "/several"])
def test_a_form_with_too_many_fields_a_wrong_boundary_or_a_wrong_header_is_an_error(path: str) -> None:
    most = form(*[("more", "value")] * MAX_FIELDS, ("image", FILE))
    assert post(path, most, FORM)[0] == 200
    assert post(path, form(*[("more", "value")] * (MAX_FIELDS + 1), ("image", FILE)), FORM)[0] == 400
    assert post(path, most, "multipart/form-data; boundary=other")[0] == 400
    assert post(path, most, "multipart/form-data")[0] == 400
    assert post(path, most.replace(b"Disposition", b"Dis position"), FORM)[0] == 400
