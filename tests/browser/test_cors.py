"""Web pages of other origins: those in `cors_allow_origins` can use the service, others cannot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from playwright.sync_api import Error as PlaywrightError

from tests.folder_server import serve_folder
from tests.servers import Server, copy_project, start

pytestmark = pytest.mark.slow

KEY = "secret"
ASK = """async ({ url, headers, body }) => {
  const response = await fetch(url, { method: "POST", headers, body });
  const { label, error } = await response.json();
  const [requestId, retryAfter] = ["X-Request-ID", "Retry-After"].map((name) => response.headers.get(name));
  return { status: response.status, label, code: error?.code, requestId, retryAfter };
}"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a web server with an empty page."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "index.html").write_text("<!doctype html><title>Another site</title>")
    with serve_folder(folder) as url:
        yield int(url.rpartition(":")[2])


@pytest.fixture(scope="module")
def service(models: Path, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"cors_allow_origins": [f"http://127.0.0.1:{port}"], "workers": 1, "limits.buffered_bytes": 50_000}
    project = copy_project(tmp_path_factory.mktemp("cors") / "project", **settings)
    with start(models, {"RELU_API_KEY": KEY}, project) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


def ask(page: Page, service: Server, body: str, **headers: str) -> Any:
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"} | headers
    return page.evaluate(ASK, {"url": f"{service.url}/classify_text", "headers": sent, "body": body})


def test_a_page_of_an_allowed_origin_reads_answers_and_errors(page: Page, port: int, service: Server) -> None:
    page.goto(f"http://127.0.0.1:{port}")
    text = '{"text": "The striker wins the cup final"}'
    answer = ask(page, service, text, **{"X-Request-ID": "page-1"})
    assert (answer["status"], answer["label"], answer["requestId"]) == (200, "Sports", "page-1")
    for body, headers, status, code in (
        ('{"text": ""}', {}, 400, "empty_text"),
        (text, {"Authorization": "Bearer wrong"}, 401, "unauthorized"),
        (" " * 70_000, {}, 413, "body_too_large"),
        (" " * 60_000, {}, 429, "overloaded"),
    ):
        answer = ask(page, service, body, **headers)
        assert (answer["status"], answer["code"]) == (status, code)
        assert answer["requestId"]
        assert answer["retryAfter"] == ("1" if status == 429 else None)


def test_a_page_of_another_origin_can_neither_ask_nor_read(page: Page, port: int, service: Server) -> None:
    page.goto(f"http://localhost:{port}")
    with pytest.raises(PlaywrightError, match="Failed to fetch"):
        ask(page, service, '{"text": "goal"}')
    read = "url => fetch(url).then(response => response.text())"
    with pytest.raises(PlaywrightError, match="Failed to fetch"):
        page.evaluate(read, f"{service.url}/readyz")
    page.goto(f"http://127.0.0.1:{port}")
    page.evaluate(read, f"{service.url}/readyz")
