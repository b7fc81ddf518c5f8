"""`bentoml serve` and `bentoml build` begin here."""

import asyncio
import gc
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import bentoml
import onnxruntime
from bentoml.validators import ContentType

from serving import connections, listening, workers
from serving.drain import Drain
from serving.errors import ModelError, RequestError
from serving.guard import Guard
from serving.models import MODELS
from serving.predictor import Predictor
from serving.routes import PASSED, PASSED_BELOW, endpoints
from serving.schemas import Prediction, Predictions
from serving.settings import api_key, hand_on_precision, handed_on_precision, load_settings, models_dir

EXAMPLE_TEXT = "Oil prices fall as the central bank raises interest rates"
TICK_S = 1.0
WAIT_S = 5.0
LOGGER = logging.getLogger("bentoml.relu_pipeline")

SETTINGS = load_settings()


def load_predictor() -> Predictor:
    """At import, so that a wrong model ends the command at once instead of worker after worker.

    A worker that takes the place of another while the files are wrong waits for right ones: were it to end, it would
    be started again and again.
    """
    while True:
        try:
            predictor = Predictor(models_dir(), SETTINGS)
            break
        except ModelError as error:
            if not is_worker():
                sys.exit(f"error: {error}")
            LOGGER.error("a worker waits for a model: %s", error)
            time.sleep(WAIT_S)
    for task, live in predictor.live.items():
        hand_on_precision(task, live.current.precision)
    return predictor


def is_worker() -> bool:
    """The first process has loaded the models before it starts workers."""
    return all(handed_on_precision(task) for task in MODELS)


PREDICTOR = load_predictor()
DRAIN = Drain(SETTINGS.drain_notice_s, SETTINGS.deadline_s)


def describe() -> dict[str, Any]:
    """What `/info` answers. `drift` is of the rows that this worker saw: each has a window of its own."""
    models = {task: live.current for task, live in PREDICTOR.live.items()}
    return {
        "models": {task: model.manifest for task, model in models.items()},
        "precision": {task: model.precision for task, model in models.items()},
        "refused": {task: live.problem for task, live in PREDICTOR.live.items()},
        "drift": {task: asdict(model.watch.flush()) for task, model in models.items()},
        "execution_providers": {task: model.session.get_providers() for task, model in models.items()},
        "versions": {
            "python": sys.version.split()[0],
            "bentoml": bentoml.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }


@bentoml.service(
    name="relu_pipeline",
    workers=SETTINGS.workers,
    http={"host": "127.0.0.1"},
    metrics={"enabled": False},  # ours are in metrics.py
    logging={"access": {"enabled": False}},
)
class ReluPipeline:
    """Classify images and texts. `routes` answers over HTTP; these methods are its schema and the Python interface."""

    @bentoml.on_startup
    async def start(self) -> None:
        gc.collect()
        gc.freeze()  # or a collection would look through all that was imported, for 50 ms, while requests wait
        DRAIN.install()
        self.ticking = asyncio.create_task(tick())

    @bentoml.api
    def classify_image(self, image: Annotated[Path, ContentType("image/*")]) -> Prediction:
        """The class of one PNG, JPEG or WebP image."""
        return Prediction.model_validate(_in_process(PREDICTOR.classify, "image", image.read_bytes()))

    @bentoml.api
    def classify_images(self, images: list[Path]) -> Predictions:
        """The classes of several images; one that cannot be read has its own error."""
        contents = [image.read_bytes() for image in images]
        return Predictions.model_validate(_in_process(PREDICTOR.classify_batch, "image", contents))

    @bentoml.api
    def classify_text(self, text: str = EXAMPLE_TEXT) -> Prediction:
        """The topic of one text."""
        return Prediction.model_validate(_in_process(PREDICTOR.classify, "text", text))

    @bentoml.api
    def classify_texts(self, texts: list[str] = [EXAMPLE_TEXT]) -> Predictions:  # noqa: B006  # BentoML shows it as the example
        """The topics of several texts; one that cannot be read has its own error."""
        return Predictions.model_validate(_in_process(PREDICTOR.classify_batch, "text", texts))


def _in_process(classify: Any, task: str, item: Any) -> Any:
    try:
        return classify(task, item)
    except RequestError as error:
        raise bentoml.exceptions.InvalidArgument(str(error)) from error


async def tick() -> None:
    """Once a second: new model files, and what is written for `/metrics` in batches."""
    while True:
        await asyncio.sleep(TICK_S)
        try:
            await asyncio.to_thread(PREDICTOR.follow)
        except Exception:  # a bug of ours: the next tick shall come all the same
            LOGGER.exception("what is done once a second failed")


workers.count_usable_cores()
workers.watch_closely()
listening.install()
connections.install(DRAIN, SETTINGS, {f"/classify_{task}": lane for task, lane in PREDICTOR.lanes.items()})
ReluPipeline.add_asgi_middleware(
    Guard,
    endpoints=endpoints(PREDICTOR, DRAIN, describe),
    passed=PASSED,
    passed_below=PASSED_BELOW,
    key=api_key(),
    deadline_s=SETTINGS.deadline_s,
    max_held_bytes=SETTINGS.max_held_bytes,
    drain=DRAIN,
)
