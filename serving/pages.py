"""The web page, and what it shows of the models: by path, what a GET of it gives."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from serving.http import RawHeaders, Reply
from serving.live import LiveModel

Page = Callable[[], Reply]

WEB = Path(__file__).parent / "web"
HEALTH_MAP = "relu_health.png"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# blob: what the caller chose, and pictures that were fetched with the key; data: the samples.
POLICY = "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
SECURITY: RawHeaders = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


def pages(live: Mapping[str, LiveModel]) -> dict[str, Page]:
    """The files of `serving/web/`, read once; samples and pictures of the model that is current when asked for."""
    files = {path.name: _page(path.read_bytes(), MEDIA_TYPES[path.suffix]) for path in _web_files()}
    found: dict[str, Page] = {f"/static/{name}": _always(reply) for name, reply in files.items()}
    found["/"] = _always(files["index.html"])
    found["/docs"] = _always(files["docs.html"])
    found["/samples"] = lambda: _page(_samples(live), "application/json")
    for task, model in live.items():
        found[f"/relu_health/{task}.png"] = _picture(model)
    return found


def _web_files() -> list[Path]:
    return [path for path in WEB.iterdir() if path.suffix in MEDIA_TYPES]


def _always(reply: Reply) -> Page:
    return lambda: reply


def _picture(model: LiveModel) -> Page:
    return lambda: _page(model.current.files[HEALTH_MAP], "image/png")


def _samples(live: Mapping[str, LiveModel]) -> bytes:
    """Under the name that `/classify_<task>` takes, with the true label."""
    content = {task: [_sample(task, sample) for sample in _samples_of(model)] for task, model in live.items()}
    return json.dumps(content, ensure_ascii=False).encode()


def _samples_of(model: LiveModel) -> list[dict[str, Any]]:
    return json.loads(model.current.files["samples.json"])["samples"]


def _sample(task: str, sample: dict[str, Any]) -> dict[str, str]:
    return {task: sample["input"], "label": sample["label"]}


def _page(body: bytes, media_type: str) -> Reply:
    """`no-cache`: or a browser would mix the files of two versions, and show samples of a model that is gone."""
    headers = [(b"content-type", media_type.encode()), (b"cache-control", b"no-cache")]
    return Reply(200, headers + SECURITY, body)
