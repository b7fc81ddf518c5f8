"""A real Chromium and a real `bentoml serve` with the demo models."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from relu_pipeline.demo import sample_digit
from tests.servers import START_TIMEOUT_S, Server, start

KEY = "schlüssel-🔑-0123"
OFFLINE = 0
PATIENCE_MS = 15_000  # for a busy machine
REFUSED = re.compile(r"Failed to load resource: (?:the server responded with a status of (4\d\d)|net::ERR_INTERNET_)")
Visit = Callable[..., Page]
expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Watch:
    """Faults of a page. `refused`: statuses that its test provokes, or OFFLINE; Chromium logs them as errors."""

    origin: str
    refused: frozenset[int] = frozenset()
    faults: list[str] = field(default_factory=list)

    def request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", f"blob:{self.origin}/", "data:")):
            self.faults.append(f"left the origin: {request.url}")

    def console(self, message: ConsoleMessage) -> None:
        refusal = REFUSED.match(message.text)
        expected = refusal is not None and int(refusal[1] or OFFLINE) in self.refused
        if message.type in ("error", "warning") and not expected:
            self.faults.append(f"console: {message.text}")

    def error(self, error: Exception) -> None:
        self.faults.append(f"uncaught: {error}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        reason = "no chromium on the PATH: `apt-get install chromium`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    # For one module: other tests run event loops, which Playwright's own would forbid.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], timeout=START_TIMEOUT_S * 1000
        )
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def server(models: Path) -> Iterator[Server]:
    with start(models) as running:
        yield running


@pytest.fixture(scope="package")
def guarded(models: Path) -> Iterator[Server]:
    with start(models, {"RELU_API_KEY": KEY}) as running:
        yield running


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Open the page of a server. At the end of the test, no page may have left its origin or had an error."""
    opened: list[tuple[BrowserContext, Watch]] = []

    def visit(server: Server, refused: frozenset[int] = frozenset(), **options: Any) -> Page:
        watch, context = Watch(server.url, refused), browser.new_context(**options)
        opened.append((context, watch))
        context.on("request", watch.request)
        context.on("console", watch.console)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", watch.error)
        page.goto(server.url)
        return page

    yield visit
    for context, _ in opened:
        context.close()
    assert [fault for _, watch in opened for fault in watch.faults] == []


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    path = tmp_path / "seven.png"
    path.write_bytes(sample_digit())
    return path
