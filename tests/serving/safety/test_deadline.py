"""A caller that is slow on purpose has until the deadline, and the service has time for others meanwhile."""

import itertools
import time

import pytest
import requests

from tests.servers import Server
from tests.serving.safety import pictures, wire
from tests.serving.safety.answers import JSON, TIMEOUT_S
from tests.serving.safety.conftest import DEADLINE_S, KEY

pytestmark = pytest.mark.pipeline

SLACK_S = 1.0
PAUSE_S = 0.05
AUTHORIZED = f"Bearer {KEY}".encode()
ENDLESS = b"a" * (1 << 20)
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
            wire.head("/classify_images", Content_Type=FORM, Content_Length="60000"), forever(b"--x\r\n"), id="form"
        ),
        pytest.param(b"POST /classify_text HTTP/1.1\r\n\r\n", forever(b"X-A: b\r\n"), id="headers"),
    ],
)
def test_a_request_that_drips_ends_at_the_deadline(guarded: Server, head: bytes, drip: itertools.repeat) -> None:
    start = keyed(head) if b"Content-Type" in head else head[:-2]
    began = time.monotonic()
    status = wire.send(guarded, itertools.chain([start], drip), PAUSE_S)
    assert status in (408, None)
    assert time.monotonic() - began < DEADLINE_S + SLACK_S


def test_a_stream_that_was_refused_ends_at_the_deadline_too(guarded: Server) -> None:
    head = keyed(wire.head("/classify_image", Content_Type="image/png", Transfer_Encoding="chunked"))
    began = time.monotonic()
    status = wire.send(guarded, itertools.chain([head], wire.chunked(itertools.repeat(bytes(1 << 20)))))
    assert status in (413, None)
    assert time.monotonic() - began < DEADLINE_S + SLACK_S


@pytest.mark.parametrize(
    ("head", "more"),
    [
        pytest.param(b"POST /classify_text HTTP/1.1\r\nX: ", ENDLESS, id="header"),
        pytest.param(b"POST /classify_text HTTP/1.1\r\n", b"X: " + ENDLESS + b"\r\n", id="headers"),
        pytest.param(b"POST /classify_text HTTP/1.1\r\n", b"a:b\r\n" * 200_000, id="short-headers"),
        pytest.param(b"GET /", ENDLESS, id="path"),
        pytest.param(b"", ENDLESS, id="method"),
        pytest.param(CHUNKED + b"1\r\n{\r\n0\r\n", b"X: " + ENDLESS + b"\r\n", id="trailers"),
        pytest.param(CHUNKED + b"1", b";" + ENDLESS, id="chunk-extension"),
    ],
)
def test_what_stands_around_a_body_is_not_kept_without_bound(guarded: Server, head: bytes, more: bytes) -> None:
    with guarded.growth() as growth:
        status = wire.send(guarded, itertools.chain([head], itertools.repeat(more, 300)))
    assert status in (400, 408, 413, 431, None)
    assert max(growth) < 32 << 20


def test_work_that_nobody_waits_for_is_given_up(guarded: Server) -> None:
    """Small files that are large images would hold a worker for minutes; others may follow soon after the deadline."""
    large = pictures.png(5000, 5000, 8, pictures.RGBA, pictures.zeros(5000 * 20_001))
    batch = [("images", ("a.png", large))] * 256
    assert ask(guarded, "/classify_images", files=batch).status_code in (408, 413, 429)
    time.sleep(3 * DEADLINE_S)
    assert ask(guarded, "/classify_texts", json={"texts": ["goal"]}).status_code == 200


def ask(server: Server, path: str, **content: object) -> requests.Response:
    headers = {"Authorization": AUTHORIZED}
    return requests.post(f"{server.url}{path}", headers=headers, timeout=TIMEOUT_S, **content)


def test_a_connection_that_says_nothing_is_closed(guarded: Server) -> None:
    with wire.connect(guarded) as connection:
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert time.monotonic() - began < 5 + SLACK_S


def test_others_are_answered_meanwhile(guarded: Server) -> None:
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
