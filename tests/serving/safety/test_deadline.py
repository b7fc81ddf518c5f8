"""Slow clients and expensive requests end at the deadline, and other requests are answered meanwhile.

Slow and endless heads, and connections without a request, are left to nginx (tests/proxy).
"""

import itertools
import time

import pytest
import requests

from tests.servers import Server
from tests.serving.safety import pictures, wire
from tests.serving.safety.answers import JSON, TIMEOUT_S, check_headers, refusal
from tests.serving.safety.conftest import DEADLINE_S, KEY

pytestmark = [pytest.mark.slow, pytest.mark.alone]

SLACK_S = 2.0
PAUSE_S = 0.05
AUTHORIZED = f"Bearer {KEY}".encode()
FORM = "multipart/form-data; boundary=x"


def keyed(head: bytes) -> bytes:
    return head[:-2] + b"Authorization: " + AUTHORIZED + b"\r\n\r\n"


CHUNKED = keyed(wire.head("/classify_text", Content_Type=JSON, Transfer_Encoding="chunked"))


def forever(block: bytes) -> itertools.repeat:
    return itertools.repeat(block, int(3 * (DEADLINE_S + SLACK_S) / PAUSE_S))


@pytest.mark.parametrize(
    ("head", "drip"),
    [
        pytest.param(
            wire.head("/classify_text", Content_Type=JSON, Content_Length="60000"), forever(b" "), id="json-body"
        ),
        pytest.param(
            wire.head("/classify_text", Content_Type=JSON, Transfer_Encoding="chunked"),
            wire.chunked(forever(b" ")),
            id="chunks",
        ),
        pytest.param(
            wire.head("/classify_image", Content_Type="image/png", Content_Length="60000"), forever(b"\0"), id="image"
        ),
        pytest.param(
            wire.head("/classify_images", Content_Type=FORM, Content_Length="60000"),
            wire.form(forever(b"\0")),
            id="form",
        ),
    ],
)
def test_a_body_that_drips_ends_at_the_deadline(guarded: Server, head: bytes, drip: itertools.repeat) -> None:
    began = time.monotonic()
    status = wire.send(guarded, itertools.chain([keyed(head)], drip), PAUSE_S)
    assert status in (408, None)
    assert time.monotonic() - began < DEADLINE_S + SLACK_S


def test_an_endless_chunk_extension_is_not_kept_in_memory(guarded: Server) -> None:
    extension = itertools.chain([CHUNKED, b"1;"], itertools.repeat(b"a" * (1 << 20), 300))
    with guarded.growth() as growth:
        status = wire.send(guarded, extension)
    assert status in (400, 408, None)
    assert max(growth) < 32 << 20


def test_an_expensive_batch_is_given_up_at_the_deadline(guarded: Server) -> None:
    """Small files with large images could keep a worker busy for minutes; it is free again soon after the deadline."""
    large = pictures.png(5000, 5000, 8, pictures.RGBA, pictures.zeros(5000 * 20_001))
    batch = [("images", ("a.png", large))] * 256
    response = ask(guarded, "/classify_images", files=batch)
    assert refusal(response) == (503, "deadline_exceeded")
    check_headers(response)
    assert response.elapsed.total_seconds() < DEADLINE_S + SLACK_S
    time.sleep(3 * DEADLINE_S)
    assert ask(guarded, "/classify_texts", json={"texts": ["goal"]}).status_code == 200


def ask(server: Server, path: str, **content: object) -> requests.Response:
    headers = {"Authorization": AUTHORIZED}
    return requests.post(f"{server.url}{path}", headers=headers, timeout=TIMEOUT_S, **content)


def test_requests_are_answered_while_a_hundred_bodies_drip(guarded: Server) -> None:
    head = keyed(wire.head("/classify_text", Content_Type=JSON, Content_Length="60000"))
    dripping = [wire.connect(guarded) for _ in range(100)]
    try:
        for connection in dripping:
            connection.sendall(head + b"{")
        answer = ask(guarded, "/classify_text", json={"text": "goal"})
        assert answer.status_code == 200
        assert answer.elapsed.total_seconds() < DEADLINE_S
    finally:
        for connection in dripping:
            connection.close()
