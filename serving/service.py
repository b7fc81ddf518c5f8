"""The BentoML service: entry point of `bentoml serve` and `bentoml build`."""

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import bentoml
from bentoml.validators import ContentType
from starlette.middleware.cors import CORSMiddleware

from serving.app import create_app, intakes
from serving.drain import Drain
from serving.errors import ModelError, RequestError
from serving.metrics import REQUESTS_IN_FLIGHT
from serving.middleware import ACCESS, ServiceMiddleware
from serving.predictor import Predictor
from serving.schemas import Prediction, Predictions
from serving.settings import api_key, load_settings, models_dir

TICK_S = 1.0
WAIT_S = 5.0
FULL_COLLECTION = 1000  # threshold of the oldest generation; Python's default is 10
MARGIN_S = 5.0  # BentoML's timeout is this much later than ours, because its response has another format
LOGGER = logging.getLogger("bentoml.relu_pipeline")
T = TypeVar("T")


def or_exit(read: Callable[[], T]) -> T:
    """Return the result of `read`, or end the command with the message of its ValueError."""
    try:
        return read()
    except ValueError as error:
        sys.exit(f"error: {error}")


SETTINGS = or_exit(load_settings)


def load_predictor() -> Predictor:
    """Load the models at import, so that an invalid model ends the command at once.

    A restarted worker that finds invalid files waits for valid ones: if it exited, it would be restarted in a loop.
    """
    while True:
        try:
            return Predictor(models_dir(), SETTINGS)
        except ModelError as error:
            if bentoml.server_context.worker_index is None:
                sys.exit(f"error: {error}")
            LOGGER.error("the worker waits for a valid model: %s", error)
            time.sleep(WAIT_S)


KEY = or_exit(api_key)
PREDICTOR = load_predictor()
INTAKES = intakes(PREDICTOR)


def in_flight() -> int:
    """Return the number of classification requests in progress in this worker."""
    return sum(slots.used for slots in {intake.slots for intake in INTAKES.values()})


DRAIN = Drain(SETTINGS.drain_notice_s, SETTINGS.deadline_s, in_flight)


@bentoml.service(  # type: ignore[operator]  # mypy takes BentoML's package of this name for the function
    name="relu_pipeline",
    workers=SETTINGS.workers,
    http={"host": "127.0.0.1"},
    traffic={"timeout": SETTINGS.deadline_s + MARGIN_S},
    # Disabled to save time per request: metrics.py has the metrics, and spans are not exported by default.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class ReluPipeline:
    """Image and text classification. `app` serves HTTP; these methods define the schema and the Python interface."""

    @bentoml.on_startup
    async def start(self) -> None:
        gc.collect()
        gc.freeze()  # exclude imported modules from collections, which would take 50 ms
        # BentoML keeps a timer of 15 s per request; at 2,000 requests/s a full collection of them takes 0.1 s.
        gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTION)
        DRAIN.install()
        self.ticking = asyncio.create_task(tick())

    @bentoml.on_shutdown
    def stop(self) -> None:
        PREDICTOR.record_metrics()

    async def __is_ready__(self) -> bool:
        return not DRAIN.began

    if "image" in PREDICTOR.stores:

        @bentoml.api
        def classify_image(self, image: Annotated[Path, ContentType("image/*")]) -> Prediction:
            """Classify one PNG, JPEG or WebP image."""
            return Prediction.model_validate(_in_process(PREDICTOR.classify, "image", image.read_bytes()))

        @bentoml.api
        def classify_images(self, images: list[Path]) -> Predictions:
            """Classify several images; an image that cannot be read has an error instead of a prediction."""
            contents = [image.read_bytes() for image in images]
            return Predictions.model_validate(_in_process(PREDICTOR.classify_batch, "image", contents))

    if "text" in PREDICTOR.stores:

        @bentoml.api
        def classify_text(self, text: str) -> Prediction:
            """Classify one text."""
            return Prediction.model_validate(_in_process(PREDICTOR.classify, "text", text))

        @bentoml.api
        def classify_texts(self, texts: list[str]) -> Predictions:
            """Classify several texts; a text that cannot be read has an error instead of a prediction."""
            return Predictions.model_validate(_in_process(PREDICTOR.classify_batch, "text", texts))


def _in_process(classify: Any, task: str, item: Any) -> Any:
    try:
        return classify(task, item)
    except RequestError as error:
        raise bentoml.exceptions.InvalidArgument(str(error)) from error


async def tick() -> None:
    """Load new model files and update metrics once per second."""
    while True:
        await asyncio.sleep(TICK_S)
        try:
            REQUESTS_IN_FLIGHT.set(in_flight())
            await asyncio.to_thread(PREDICTOR.follow)
        except Exception:  # an unexpected error must not end the loop
            LOGGER.exception("checking for new model files failed")


if SETTINGS.access_log:
    ACCESS.addHandler(logging.StreamHandler(sys.stdout))
    ACCESS.setLevel(logging.INFO)
    ACCESS.propagate = False  # BentoML's logger would write each line again
SERVICE: Any = ReluPipeline  # a `bentoml.Service` because of the decorator
if SETTINGS.cors_allow_origins:
    SERVICE.add_asgi_middleware(
        CORSMiddleware,
        allow_origins=SETTINGS.cors_allow_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
        expose_headers=["X-Request-ID", "Retry-After"],
    )
SERVICE.add_asgi_middleware(
    ServiceMiddleware,
    service=create_app(PREDICTOR, lambda: not DRAIN.began),
    intakes=INTAKES,
    drain=DRAIN,
    key=KEY,
    deadline_s=SETTINGS.deadline_s,
    buffered_bytes=SETTINGS.limits.buffered_bytes,
    access_log=SETTINGS.access_log,
)
