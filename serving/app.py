"""The Starlette application: all routes except those of BentoML, and the exception handlers."""

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import bentoml
import onnxruntime
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from serving import metrics
from serving.batching import Slots
from serving.errors import RequestError
from serving.inference_protocol import MEDIA_TYPES, infer_path, protocol_routes
from serving.middleware import CLIENT_LEFT, Intake
from serving.openapi import document
from serving.pages import page_routes
from serving.predictor import Predictor
from serving.requests import FORM, parse_text, parse_texts, read_image, read_images
from serving.responses import JsonResponse, problem
from serving.settings import LimitSettings

JSON = "application/json"
LOGGER = logging.getLogger("bentoml.relu_pipeline")


def create_app(predictor: Predictor, is_ready: Callable[[], bool] = lambda: True) -> Starlette:
    """Return the application with the endpoints of the predictor's models; `is_ready` answers the readiness probes."""
    api = Api(predictor)
    routes = [
        *(Route(f"/classify_{task}", getattr(api, f"classify_{task}"), methods=["POST"]) for task in predictor.stores),
        *(
            Route(f"/classify_{task}s", getattr(api, f"classify_{task}s"), methods=["POST"])
            for task in predictor.stores
        ),
        Route("/docs.json", api.describe_api),
        Route("/info", api.info),
        Route("/metrics", api.metrics),
        *protocol_routes(predictor, is_ready),
        *page_routes(predictor.stores),
    ]
    handlers: Mapping[Any, Any] = {
        RequestError: answer_request_error,
        HTTPException: answer_http_exception,
        ClientDisconnect: answer_disconnect,
        Exception: answer_bug,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False  # /info/ is 404, not a redirect to /info
    return app


def intakes(predictor: Predictor) -> dict[str, Intake]:
    """Return the media types and limits of each POST endpoint, by path."""
    settings = predictor.settings
    sizes = {"image": settings.limits.image_bytes, "text": settings.limits.text_bytes}
    batch_sizes = {"image": settings.limits.image_batch_bytes, "text": settings.limits.text_batch_bytes}
    one = {"image": (FORM, "image/"), "text": (JSON,)}
    several = {"image": (FORM,), "text": (JSON,)}
    batches = Slots(settings.queue.max_batches)
    found = {}
    for task, queue in predictor.queues.items():
        slots = Slots(settings.queue.max_requests)
        found[f"/classify_{task}"] = Intake(one[task], sizes[task], slots, queue)
        found[f"/classify_{task}s"] = Intake(several[task], batch_sizes[task], batches)
        found[infer_path(task)] = Intake(MEDIA_TYPES, batch_sizes[task], batches)
    return found


class Api:
    """Endpoints of the application. Starlette runs those that are not coroutines in threads."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.max_items = predictor.settings.limits.batch_items

    async def classify_image(self, request: Request) -> Response:
        image = await read_image(request)
        return JsonResponse(await self.predictor.answer("image", image, request.receive))

    async def classify_images(self, request: Request) -> Response:
        images = await read_images(request, self.max_items)
        return JsonResponse(await self.predictor.answer_batch("image", lambda: images, request.receive))

    async def classify_text(self, request: Request) -> Response:
        text = parse_text(await request.body())
        return JsonResponse(await self.predictor.answer("text", text, request.receive))

    async def classify_texts(self, request: Request) -> Response:
        body = await request.body()
        read = lambda: parse_texts(body, self.max_items)  # noqa: E731  # called in a thread: parsing may take 0.2 s
        return JsonResponse(await self.predictor.answer_batch("text", read, request.receive))

    def describe_api(self, request: Request) -> Response:
        labels = tuple((task, tuple(store.current.labels)) for task, store in self.predictor.stores.items())
        return JsonResponse(described_api(labels, self.predictor.settings.limits))

    def info(self, request: Request) -> Response:
        return JsonResponse(describe(self.predictor))

    def metrics(self, request: Request) -> Response:
        self.predictor.record_metrics()
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)


@lru_cache(maxsize=1)
def described_api(labels: tuple[tuple[str, tuple[str, ...]], ...], limits: LimitSettings) -> dict[str, Any]:
    return document(dict(labels), limits)


def describe(predictor: Predictor) -> dict[str, Any]:
    """Return the content of `/info`. `drift` is that of this worker: each worker has its own window."""
    models = {task: store.current for task, store in predictor.stores.items()}
    return {
        "models": {task: model.manifest for task, model in models.items()},
        "precision": {task: model.precision for task, model in models.items()},
        "refused": {task: store.problem for task, store in predictor.stores.items()},
        "drift": {
            task: {**asdict(model.watch.record()), "watches": model.watch.description} for task, model in models.items()
        },
        "execution_providers": {task: model.session.get_providers() for task, model in models.items()},
        "versions": {
            "python": sys.version.split()[0],
            "bentoml": bentoml.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }


async def answer_request_error(request: Request, error: RequestError) -> ASGIApp:
    return problem(error, request.state.request_id)


async def answer_http_exception(request: Request, error: HTTPException) -> ASGIApp:
    """Handle the exceptions of Starlette's router and form parser."""
    path = request.url.path
    code, message = {
        404: ("not_found", f"{path} does not exist; /docs lists the endpoints."),
        405: ("method_not_allowed", f"{path} does not support {request.method}."),
    }.get(error.status_code, ("invalid_multipart", f"The form cannot be parsed: {error.detail}"))
    return problem(RequestError(error.status_code, code, message, error.headers), request.state.request_id)


async def answer_disconnect(request: Request, error: ClientDisconnect) -> Response:
    """Return a status for metrics and logs; the client has disconnected."""
    return Response(status_code=CLIENT_LEFT)


async def answer_bug(request: Request, error: Exception) -> ASGIApp:
    """Return status 500. Starlette raises the exception again, and uvicorn logs its traceback."""
    request_id = request.state.request_id
    LOGGER.error("%s %s failed, request id %s", request.method, request.url.path, request_id)
    return problem(RequestError(500, "internal_error", "Internal error; see the service's log."), request_id)
