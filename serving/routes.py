"""The endpoints: what each takes, and how it comes to its answer."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import Any

from serving import metrics
from serving.drain import Drain
from serving.errors import RequestError
from serving.guard import Endpoint
from serving.http import Reply, Request, TextBody, TextsBody, check_strings, json_reply, parse_form, parse_json
from serving.openapi import document
from serving.pages import pages
from serving.predictor import Predictor
from serving.settings import Settings

FORM = "multipart/form-data"
PROMETHEUS = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
SECRET = ("/samples", "/relu_health/image.png", "/relu_health/text.png")  # of the pages, what shows the models
PASSED = ("/schema.json", "/livez", "/healthz")  # to BentoML; its client needs the first
PASSED_BELOW = "/static_content/"  # Swagger UI, for /docs


def endpoints(predictor: Predictor, drain: Drain, info: Callable[[], dict[str, Any]]) -> dict[str, Endpoint]:
    limits = predictor.settings
    bulk = predictor.bulk.admit
    shown = {path: Endpoint(_plain(page), needs_key=path in SECRET) for path, page in pages(predictor.live).items()}
    return shown | {
        "/classify_image": Endpoint(
            partial(classify_image, predictor),
            accepts=(FORM, "image/"),
            max_bytes=limits.max_image_bytes,
            admit=predictor.lanes["image"].admit,
        ),
        "/classify_images": Endpoint(
            partial(classify_images, predictor), accepts=(FORM,), max_bytes=limits.max_batch_bytes, admit=bulk
        ),
        "/classify_text": Endpoint(
            partial(classify_text, predictor),
            accepts=("application/json",),
            max_bytes=limits.max_text_bytes,
            admit=predictor.lanes["text"].admit,
        ),
        "/classify_texts": Endpoint(
            partial(classify_texts, predictor),
            accepts=("application/json",),
            max_bytes=limits.max_batch_bytes,
            admit=bulk,
        ),
        "/docs.json": Endpoint(_plain(partial(describe_api, predictor)), needs_key=False),
        "/info": Endpoint(_in_thread(lambda: json_reply(info()))),
        "/metrics": Endpoint(_in_thread(partial(show_metrics, predictor))),
        "/readyz": Endpoint(partial(ready, drain), needs_key=False),
    }


async def classify_image(predictor: Predictor, request: Request) -> Reply:
    content = _only_file(request) if request.media_type == FORM else request.body
    return json_reply(await predictor.answer("image", content))


async def classify_images(predictor: Predictor, request: Request) -> Reply:
    return json_reply(
        await predictor.answer_batch("image", lambda: _files(request, predictor.settings.max_batch_items))
    )


async def classify_text(predictor: Predictor, request: Request) -> Reply:
    return json_reply(await predictor.answer("text", parse_json(request.body, TextBody).text))


async def classify_texts(predictor: Predictor, request: Request) -> Reply:
    most = predictor.settings.max_batch_items
    return json_reply(await predictor.answer_batch("text", lambda: _texts(request.body, most)))


def describe_api(predictor: Predictor) -> Reply:
    return _described(*(tuple(predictor.live[task].current.labels) for task in ("image", "text")), predictor.settings)


@lru_cache(maxsize=1)
def _described(image: tuple[str, ...], text: tuple[str, ...], settings: Settings) -> Reply:
    return json_reply(document(image, text, settings))


async def ready(drain: Drain, request: Request) -> Reply:
    if drain.began:
        raise RequestError(503, "draining", "the service is shutting down")
    return json_reply({"status": "ready"})


def show_metrics(predictor: Predictor) -> Reply:
    predictor.flush()
    return Reply(200, [PROMETHEUS], metrics.render())


def _plain(render: Callable[[], Reply]) -> Callable[[Request], Awaitable[Reply]]:
    async def answer(request: Request) -> Reply:
        return render()

    return answer


def _in_thread(render: Callable[[], Reply]) -> Callable[[Request], Awaitable[Reply]]:
    async def answer(request: Request) -> Reply:
        return await asyncio.to_thread(render)

    return answer


def _only_file(request: Request) -> bytes:
    files = [part for part in parse_form(request, max_parts=8) if part.name == b"image"]
    if len(files) != 1 or files[0].filename is None:
        raise RequestError(400, "invalid_request", 'send one file in the multipart field "image"')
    return files[0].content


def _files(request: Request, most: int) -> list[bytes]:
    """One more than `most` is read, so that the count itself is what is refused."""
    return [part.content for part in parse_form(request, most + 1) if part.filename is not None]


def _texts(body: bytes, most: int) -> list[str]:
    check_strings(body, most + 1)  # and the name of the field
    return parse_json(body, TextsBody).texts
