"""The web page and its files: their types, their headers, and what they show of the models."""

import asyncio
import base64
import hashlib
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.applications import Starlette

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, Samples
from serving.model_store import ModelStore
from serving.pages import WEB, page_routes
from serving.predictor import Predictor
from serving.settings import load_settings
from tests.serving.asgi import Exchange, Request, Response

TASKS = ("image", "text")
FILES = sorted(path.name for path in WEB.iterdir())
PAGES = ["/", "/docs", "/samples", *(f"/relu_health/{task}.png" for task in TASKS)]


def get(stores: dict[str, ModelStore], path: str) -> Response:
    return asyncio.run(Exchange(Request(path=path)).run(Starlette(routes=page_routes(stores))))


class References(HTMLParser):
    """What a page loads or leads to, and the inline code that the policy would stop."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found |= {value for name, value in attrs if name in ("src", "href") and value}
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_served_as_it_is(predictor: Predictor, name: str) -> None:
    response = get(predictor.stores, f"/static/{name}")
    assert (response.status, response.body) == (200, (WEB / name).read_bytes())


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html"),
        ("/docs", "text/html"),
        ("/static/app.js", "text/javascript"),
        ("/static/style.css", "text/css"),
        ("/static/favicon.svg", "image/svg+xml"),
    ],
)
def test_files_have_their_media_types(predictor: Predictor, path: str, media_type: str) -> None:
    assert (get(predictor.stores, path).header("content-type") or "").partition(";")[0] == media_type


@pytest.mark.parametrize("path", ["/static/../pages.py", "/static/%2e%2e/pages.py", "/static//etc/passwd", "/static/x"])
def test_nothing_but_the_files_is_served(predictor: Predictor, path: str) -> None:
    assert get(predictor.stores, path).status == 404


@pytest.mark.parametrize(("path", "name"), [("/", "index.html"), ("/docs", "docs.html")])
def test_a_page_loads_files_that_are_served_and_has_no_inline_code(predictor: Predictor, path: str, name: str) -> None:
    response = get(predictor.stores, path)
    assert response.body == (WEB / name).read_bytes()
    page = References()
    page.feed(response.body.decode())
    assert page.inline == []
    loaded = {reference for reference in page.found if reference.startswith("static/")}
    assert {reference.removeprefix("static/") for reference in loaded} <= set(FILES)
    if path == "/":
        assert page.found - loaded == {"#try", "docs", "info", "metrics"}


@pytest.mark.parametrize("path", [*PAGES, *(f"/static/{name}" for name in FILES)])
def test_every_page_forbids_what_it_does_not_need(predictor: Predictor, path: str) -> None:
    response = get(predictor.stores, path)
    assert response.status == 200
    content_policy = response.header("content-security-policy") or ""
    policy = dict(rule.split(" ", 1) for rule in content_policy.split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in content_policy
    assert response.header("x-content-type-options") == "nosniff"
    assert response.header("referrer-policy") == "no-referrer"
    assert response.header("cache-control") == "no-cache"


def test_samples_are_those_of_the_export(predictor: Predictor, models: Path) -> None:
    response = get(predictor.stores, "/samples")
    assert response.header("content-type") == "application/json"
    found = json.loads(response.body)
    assert list(found) == list(TASKS)
    for task in TASKS:
        exported = artifacts.read(models / task / "samples.json", Samples).samples
        assert found[task] == [{task: sample.input, "label": sample.label} for sample in exported]


@pytest.mark.parametrize("task", TASKS)
def test_the_card_is_of_the_model_that_is_served_and_may_only_show_itself(
    predictor: Predictor, models: Path, task: str
) -> None:
    response = get(predictor.stores, f"/card/{task}.html")
    assert (response.status, response.body) == (200, (models / task / "card.html").read_bytes())
    assert (response.header("content-type") or "").partition(";")[0] == "text/html"
    rules = (response.header("content-security-policy") or "").split("; ")
    style = response.body.split(b"<style>")[1].split(b"</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in rules
    assert {"default-src 'none'", "img-src data:", "base-uri 'none'", "form-action 'none'"} < set(rules)
    assert "frame-ancestors 'none'" in rules
    assert len(rules) == 6
    assert response.header("x-content-type-options") == "nosniff"
    assert response.header("referrer-policy") == "no-referrer"
    assert response.header("cache-control") == "no-cache"


@pytest.mark.parametrize("task", TASKS)
def test_the_health_map_is_of_the_model_that_is_served(models: Path, tmp_path: Path, task: str) -> None:
    folder = tmp_path / task
    shutil.copytree(models / task, folder)
    store = ModelStore(task, folder, load_settings())
    path = f"/relu_health/{task}.png"
    response = get({task: store}, path)
    assert response.header("content-type") == "image/png"
    assert response.body == (models / task / "relu_health.png").read_bytes()
    other = (models / ("text" if task == "image" else "image") / "relu_health.png").read_bytes()
    (folder / "relu_health.png").write_bytes(other)
    manifest = artifacts.read(folder / "manifest.json", Manifest)
    digest = artifacts.sha256_of(folder / "relu_health.png")
    artifacts.write(
        folder / "manifest.json", manifest.model_copy(update={"files": manifest.files | {"relu_health.png": digest}})
    )
    for _ in range(2):
        store.follow()
    assert get({task: store}, path).body == other
