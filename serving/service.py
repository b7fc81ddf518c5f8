"""`bentoml serve` and `bentoml build` begin here."""

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import bentoml
import onnxruntime
from bentoml.validators import ContentType

from serving.errors import ModelError, RequestError
from serving.predictor import Predictor
from serving.routes import Routes
from serving.schemas import Prediction, Predictions
from serving.settings import load_limits, models_dir

EXAMPLE_TEXT = "Oil prices fall as the central bank raises interest rates"


def load_predictor() -> Predictor:
    """At import, so that a wrong model ends the command at once instead of worker after worker."""
    try:
        return Predictor(models_dir(), load_limits())
    except ModelError as error:
        sys.exit(f"error: {error}")


def describe(predictor: Predictor) -> dict[str, Any]:
    """What `/info` answers. `drift` is of the rows that this worker saw: each has a window of its own."""
    models = {"image": predictor.image, "text": predictor.text}
    return {
        "models": {task: model.manifest for task, model in models.items()},
        "drift": {task: asdict(model.monitor.read()) for task, model in models.items()},
        "execution_providers": {task: model.session.get_providers() for task, model in models.items()},
        "versions": {
            "python": sys.version.split()[0],
            "bentoml": bentoml.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }


PREDICTOR = load_predictor()


@bentoml.service(name="relu_pipeline")
class ReluPipeline:
    """Classify images and texts. `Routes` answers over HTTP; these methods are its schema and the Python interface."""

    @bentoml.api
    def classify_image(self, image: Annotated[Path, ContentType("image/*")]) -> Prediction:
        """The class of one PNG, JPEG or WebP image."""
        return _in_process(PREDICTOR.classify_image, image.read_bytes())

    @bentoml.api
    def classify_images(self, images: list[Path]) -> Predictions:
        """The classes of several images; one that cannot be read has its own error."""
        return _in_process(PREDICTOR.classify_images, [image.read_bytes() for image in images])

    @bentoml.api
    def classify_text(self, text: str = EXAMPLE_TEXT) -> Prediction:
        """The topic of one text."""
        return _in_process(PREDICTOR.classify_text, text)

    @bentoml.api
    def classify_texts(self, texts: list[str] = [EXAMPLE_TEXT]) -> Predictions:  # noqa: B006  # BentoML shows it as the example
        """The topics of several texts; one that cannot be read has its own error."""
        return _in_process(PREDICTOR.classify_texts, texts)


def _in_process(classify: Any, item: Any) -> Any:
    try:
        return classify(item)
    except RequestError as error:
        raise bentoml.exceptions.InvalidArgument(str(error)) from error


ReluPipeline.add_asgi_middleware(Routes, predictor=PREDICTOR, info=partial(describe, PREDICTOR))
