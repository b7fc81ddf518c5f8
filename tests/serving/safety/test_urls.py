"""No URL is ever fetched, wherever it stands in a request."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.serving.safety.answers import JSON, Caller

pytestmark = pytest.mark.slow

URLS = [
    "http://127.0.0.1:{port}/a.png",
    "HTTP://localhost:{port}/a.png",
    "//127.0.0.1:{port}/a.png",
    "ftp://127.0.0.1:{port}/a.png",
]
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}" width="32" height="32"/></svg>'
XML = '<!DOCTYPE a [<!ENTITY b SYSTEM "{url}">]><a>&b;</a>'


class Canary:
    """A server that counts its visitors."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.visits = 0

    def watch(self) -> None:
        while True:
            try:
                visitor, _ = self.listener.accept()
            except OSError:  # closed
                return
            self.visits += 1
            visitor.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        canary = Canary(listener)
        watcher = threading.Thread(target=canary.watch)
        watcher.start()
        yield canary
        listener.shutdown(socket.SHUT_RDWR)
    watcher.join()


def everywhere(caller: Caller, url: str) -> Iterator[int]:
    """Yield the statuses of requests that have the URL in place of an image."""
    for text in (url, SVG.format(url=url), XML.format(url=url)):
        for content_type in ("image/png", "image/svg+xml", "text/uri-list", "message/external-body", "text/plain"):
            yield caller.post("/classify_image", text.encode(), content_type).status_code
        for part in [(None, text), ("a.png", text, "image/png"), ("a.svg", text, "image/svg+xml")]:
            yield caller.post("/classify_image", files={"image": part}).status_code
    yield caller.post("/classify_image", files={"image": (url, b"no image", "image/png")}).status_code
    yield caller.post("/classify_image", files={url: ("a.png", b"no image", "image/png")}).status_code
    for field in ("image", "images", "url", "uri", "href"):
        for path in ("/classify_image", "/classify_images", "/classify_text", "/classify_texts"):
            yield caller.post(path, json={field: url}).status_code
            yield caller.post(path, {field: url}).status_code
    yield caller.post("/classify_images", files=[("images", (None, url))]).status_code


@pytest.mark.parametrize("url", URLS)
def test_a_url_in_place_of_an_image_is_refused_and_not_fetched(caller: Caller, canary: Canary, url: str) -> None:
    url = url.format(port=canary.listener.getsockname()[1])
    assert all(400 <= status < 500 for status in everywhere(caller, url))
    batch = caller.post("/classify_images", files=[("images", ("a.png", url))])
    assert batch.json()["predictions"][0]["error"]["code"] == "invalid_image"
    assert canary.visits == 0


@pytest.mark.parametrize("url", URLS)
def test_a_url_in_a_text_is_a_word(caller: Caller, canary: Canary, url: str) -> None:
    url = url.format(port=canary.listener.getsockname()[1])
    assert caller.text(f"goal {url}").status_code == 200
    batch = caller.post("/classify_texts", f'{{"texts": ["goal {url}"]}}', JSON)
    assert "error" not in batch.json()["predictions"][0]
    assert canary.visits == 0


def test_the_canary_counts_a_visit(canary: Canary) -> None:
    """Otherwise the tests above could not fail."""
    with socket.create_connection(canary.listener.getsockname()) as visitor:
        assert visitor.recv(1) == b""
    assert canary.visits == 1
