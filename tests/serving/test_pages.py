import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, Samples
from serving.http import Reply
from serving.live import LiveModel
from serving.pages import WEB, pages
from serving.predictor import Predictor
from serving.settings import load_settings

TASKS = ("image", "text")


def headers(reply: Reply) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in reply.headers}


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


def test_each_file_of_the_page_is_given_as_what_it_is(predictor: Predictor) -> None:
    found = pages(predictor.live)
    given = {path.removeprefix("/static/") for path in found if path.startswith("/static/")}
    assert given == {path.name for path in WEB.iterdir()}
    for name in given:
        reply = found[f"/static/{name}"]()
        assert (reply.status, reply.body) == (200, (WEB / name).read_bytes())
    assert headers(found["/static/app.js"]())["content-type"].startswith("text/javascript")
    assert headers(found["/static/style.css"]())["content-type"].startswith("text/css")
    assert headers(found["/static/favicon.svg"]())["content-type"] == "image/svg+xml"


def test_the_page_loads_its_own_files_alone_and_has_no_inline_code(predictor: Predictor) -> None:
    found = pages(predictor.live)
    page = References()
    page.feed(found["/"]().body.decode())
    assert page.inline == []
    assert {f"/{path}" for path in page.found if path.startswith("static/")} <= set(found)
    assert {path for path in page.found if not path.startswith("static/")} == {"#try", "docs", "info", "metrics"}


def test_every_page_forbids_what_it_does_not_need(predictor: Predictor) -> None:
    for page in pages(predictor.live).values():
        sent = headers(page())
        policy = dict(rule.split(" ", 1) for rule in sent["content-security-policy"].split("; "))
        assert policy["default-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in sent["content-security-policy"]
        assert sent["x-content-type-options"] == "nosniff"
        assert sent["referrer-policy"] == "no-referrer"
        assert sent["cache-control"] == "no-cache"


def test_samples_are_those_of_the_export(predictor: Predictor, models: Path) -> None:
    reply = pages(predictor.live)["/samples"]()
    assert headers(reply)["content-type"] == "application/json"
    found = json.loads(reply.body)
    assert list(found) == list(TASKS)
    for task in TASKS:
        exported = artifacts.read(models / task / "samples.json", Samples).samples
        assert found[task] == [{task: sample.input, "label": sample.label} for sample in exported]


@pytest.mark.parametrize("task", TASKS)
def test_the_picture_is_of_the_model_that_answers(models: Path, tmp_path: Path, task: str) -> None:
    folder = tmp_path / task
    shutil.copytree(models / task, folder)
    live = LiveModel(task, folder, load_settings())
    page = pages({task: live})[f"/relu_health/{task}.png"]
    assert headers(page())["content-type"] == "image/png"
    assert page().body == (models / task / "relu_health.png").read_bytes()
    other = (models / ("text" if task == "image" else "image") / "relu_health.png").read_bytes()
    (folder / "relu_health.png").write_bytes(other)
    manifest = artifacts.read(folder / "manifest.json", Manifest)
    digest = artifacts.sha256_of(folder / "relu_health.png")
    artifacts.write(
        folder / "manifest.json", manifest.model_copy(update={"files": manifest.files | {"relu_health.png": digest}})
    )
    for _ in range(2):
        live.follow()
    assert page().body == other
