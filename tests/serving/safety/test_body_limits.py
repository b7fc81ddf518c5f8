"""A body that is too large is refused by its header or as soon as it has grown too large, and takes little memory."""

import itertools

import pytest
import yaml

from tests.servers import ROOT, Server
from tests.serving.safety import wire
from tests.serving.safety.answers import JSON, Caller
from tests.serving.safety.pictures import picture, plain

pytestmark = pytest.mark.slow

LIMITS = yaml.safe_load((ROOT / "configs/serving.yaml").read_text())["limits"]
FORM = "multipart/form-data; boundary=x"
MEGABYTE = bytes(1 << 20)
STREAMED = 192  # megabytes
VALUES = 7 << 20  # bytes, within the limit
MEMORY = 32 << 20

ENDPOINTS = [
    ("/classify_image", "image/png", LIMITS["image_bytes"]),
    ("/classify_image", FORM, LIMITS["image_bytes"]),
    ("/classify_images", FORM, LIMITS["image_batch_bytes"]),
    ("/classify_text", JSON, LIMITS["text_bytes"]),
    ("/classify_texts", JSON, LIMITS["text_batch_bytes"]),
]
every_endpoint = pytest.mark.parametrize(("path", "content_type", "limit"), ENDPOINTS)


def test_the_limits_are_those_that_are_documented() -> None:
    limits = {name: LIMITS[name] for name in ("image_bytes", "text_bytes", "image_batch_bytes", "text_batch_bytes")}
    assert list(limits.values()) == [8 << 20, 64 << 10, 64 << 20, 8 << 20]


@every_endpoint
@pytest.mark.parametrize("excess", [1, 1 << 40, 10**400], ids=["one-byte", "terabyte", "absurd"])
def test_a_header_that_claims_too_much_is_refused_before_the_body(
    server: Server, path: str, content_type: str, limit: int, excess: int
) -> None:
    head = wire.head(path, Content_Type=content_type, Content_Length=str(limit + excess))
    status = wire.send(server, [head])
    assert status in ((413,) if excess < 1 << 60 else (400, 413))


@every_endpoint
def test_a_stream_is_refused_as_soon_as_it_is_too_large(
    server: Server, path: str, content_type: str, limit: int
) -> None:
    """It comes in chunks, without a length. What follows the refusal is discarded."""
    blocks = itertools.repeat(MEGABYTE, STREAMED)
    body = wire.form(blocks) if content_type == FORM else blocks
    head = wire.head(path, Content_Type=content_type, Transfer_Encoding="chunked")
    with server.growth() as growth:
        status = wire.send(server, itertools.chain([head], wire.chunked(body)))
    assert status == 413
    assert max(growth) < limit + MEMORY


@pytest.mark.parametrize(
    "item",
    [b"1.5", b"[]", b'{"a":1}', b'""', b'"ab"', b'"\\""'],
    ids=["number", "list", "object", "no-text", "text", "quotation-mark"],
)
def test_many_small_values_take_no_more_memory_than_their_bytes(server: Server, caller: Caller, item: bytes) -> None:
    """As Python objects they would take a hundred times the memory."""
    body = b'{"texts": [' + b",".join([item] * (VALUES // (len(item) + 1))) + b"]}"
    with server.growth() as growth:
        response = caller.post("/classify_texts", body, JSON)
    assert response.status_code in (400, 413)
    assert max(growth) < 2 * len(body) + MEMORY
    assert response.elapsed.total_seconds() < 2


@pytest.mark.parametrize("length", ["-1", "1e9", "0x10", "+5", "5, 5", "ten", ""])
def test_a_length_that_is_not_a_number_is_refused(server: Server, length: str) -> None:
    parts = [wire.head("/classify_text", Content_Type=JSON, Content_Length=length), b'{"text": "goal"}']
    status = wire.send(server, parts)
    assert status == 400


def test_length_and_chunks_at_once_are_refused_or_read_as_chunks(server: Server) -> None:
    """A proxy in front of the service could otherwise read another request than the service does."""
    head = wire.head("/classify_text", Content_Type=JSON, Content_Length="4", Transfer_Encoding="chunked")
    status = wire.send(server, [head, *wire.chunked([b'{"text": "goal"}'])])
    assert status in (200, 400)


def test_an_image_of_the_largest_size_is_accepted(caller: Caller) -> None:
    png = plain(picture())
    largest = png + bytes(LIMITS["image_bytes"] - len(png))
    assert caller.image(largest).status_code == 200
    assert caller.image(largest + b"\0").status_code == 413


def test_a_batch_may_be_larger_than_one_image(caller: Caller) -> None:
    png = plain(picture())
    file = ("a.png", png + bytes(7 << 20))
    answer = caller.post("/classify_images", files=[("images", file)] * 8)
    assert [item["label"] for item in answer.json()["predictions"]] == [caller.image(png).json()["label"]] * 8
