"""Routes of the web page: its files, samples, health maps and model cards."""

import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from serving.errors import RequestError
from serving.model_store import ModelStore
from serving.responses import JsonResponse

Endpoint = Callable[[Request], Awaitable[Response]]

WEB = Path(__file__).parent / "web"
HEALTH_MAP = "relu_health.png"
CARD = "card.html"
# blob: the user's image, and images that were fetched with the API key; data: the samples.
POLICY = "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    # Caching could mix files of two versions, or show samples of a model that is no longer in use.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# For model cards: embedded images, the card's own styles by their digest, no scripts.
CARD_POLICY = (
    "default-src 'none'; img-src data:; style-src {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)


class WebFiles(StaticFiles):
    """Static files with the headers of the web page."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(HEADERS)
        return response


def page_routes(stores: Mapping[str, ModelStore]) -> list[BaseRoute]:
    """Return the routes of the web page, and of samples, images and cards of the models in `stores`."""

    async def samples(request: Request) -> Response:
        return JsonResponse({task: _samples(task, store) for task, store in stores.items()}, headers=HEADERS)

    return [
        Route("/", _file("index.html")),
        Route("/docs", _file("docs.html")),
        Route("/samples", samples),
        *(Route(f"/relu_health/{task}.png", _health_map(store)) for task, store in stores.items()),
        *(Route(f"/card/{task}.html", _card(store)) for task, store in stores.items()),
        Mount("/static", WebFiles(directory=WEB)),
    ]


def _file(name: str) -> Endpoint:
    async def page(request: Request) -> Response:
        return FileResponse(WEB / name, headers=HEADERS)

    return page


def _health_map(store: ModelStore) -> Endpoint:
    async def picture(request: Request) -> Response:
        return Response(store.current.files[HEALTH_MAP], media_type="image/png", headers=HEADERS)

    return picture


def _card(store: ModelStore) -> Endpoint:
    async def page(request: Request) -> Response:
        content = store.current.files.get(CARD)
        if content is None:
            raise RequestError(404, "not_found", f"The model {store.current.version.version} has no model card.")
        headers = HEADERS | {"Content-Security-Policy": CARD_POLICY.format(_digests_of_styles(content))}
        return Response(content, media_type="text/html", headers=headers)

    return page


def _digests_of_styles(page: bytes) -> str:
    digests = (base64.b64encode(hashlib.sha256(style).digest()).decode() for style in STYLE.findall(page))
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _samples(task: str, store: ModelStore) -> list[dict[str, str]]:
    """Return the samples of the model, each under the field name that `/classify_<task>` takes."""
    samples = json.loads(store.current.files["samples.json"])["samples"]
    return [{task: sample["input"], "label": sample["label"]} for sample in samples]
