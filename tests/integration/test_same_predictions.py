"""Preparation, `relu-pipeline predict` and the service: one input of the network for a file or text, one prediction."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer

from relu_inputs.errors import InputError
from relu_pipeline import artifacts
from relu_pipeline.config import ImageDataConfig, ImagePrepareConfig, load_params
from relu_pipeline.data import packing, texts
from relu_pipeline.data.pictures import PictureFile
from relu_pipeline.data.prepare import prepare_images
from relu_pipeline.data.sources import obtain
from relu_pipeline.data.table import as_text
from relu_pipeline.evaluation.evaluate import evaluate
from relu_pipeline.export.export import export
from relu_pipeline.health.pictures import draw_health
from relu_pipeline.prediction.model import Item, Model
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import NullRun
from serving.predictor import Predictor
from serving.settings import load_settings
from tests.reports import write_reports
from tests.training import PARAMS, train_at_once

SIDE = 32
MODES = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
}
GREY = {"1", "L", "I;16"}
# The demo data are grey, so their model has one channel; in the other's training set every second image has colours.
KINDS = ("grey", "colour")


def encoded(mode: str, form: str, size: tuple[int, int], orientation: int, seed: int) -> bytes:
    """An image of noise, so that no two of its sides and channels are alike."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), np.uint8)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode in ("RGBA", "CMYK"):
        image = Image.fromarray(pixels, mode)
    else:
        image = Image.fromarray(np.ascontiguousarray(pixels[..., :3])).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, form, exif=exif)
    return buffer.getvalue()


SIDES = st.integers(1, 90)
FORMS = st.sampled_from([(mode, form) for form, modes in MODES.items() for mode in modes])
PICTURES = st.builds(
    lambda form, size, orientation, seed: (form[0], encoded(*form, size, orientation, seed)),
    FORMS,
    st.tuples(SIDES, SIDES),
    st.integers(1, 8),
    st.integers(0, 2**32 - 1),
)
TEXTS = st.one_of(
    st.text(max_size=60),
    st.text("!?.,;-'\"()$%&", min_size=1, max_size=20),
    st.lists(
        st.sampled_from(
            [
                "striker",
                "Bank",
                "ÉCONOMIE",
                "café",
                "cafe\u0301",
                "中国经济",
                "🎉",
                "👩‍👩‍👧",
                "\x00",
                "\x1c",
                "\u200b",
                "[PAD]",
            ]
        ),
        min_size=1,
        max_size=8,
    ).map(" ".join),
    st.integers(1, 3000).map(lambda count: "the bank " * count),
)


@pytest.fixture(scope="module")
def colour_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`models/` with an image model that was trained on own images with colours."""
    folder = tmp_path_factory.mktemp("colour")
    for number in range(80):
        path = folder / "own" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded("RGB" if number % 2 else "L", "PNG", (SIDE, SIDE), 1, number))
    params = load_params(PARAMS)
    obtain("image", str(folder / "own"), ImageDataConfig(test_fraction=0.25), None, folder / "raw")
    prepare_images(folder / "raw", ImagePrepareConfig(val_fraction=0.25, size=SIDE), folder / "prepared")
    config = params.image.model_copy(
        update={
            "model": params.image.model.model_copy(update={"name": "mlp"}),
            "train": params.image.train.model_copy(update={"max_epochs": 1, "batch_size": 16}),
        }
    )
    fitted = train_at_once("image", config, folder / "prepared", folder / "trained")
    draw_health(fitted.health, folder / "trained/relu_health.png")
    task, reports, run = TASKS["image"], folder / "reports", NullRun()
    artifacts.copy(folder / "trained" / artifacts.HEALTH_MAP, reports / artifacts.HEALTH_MAP)
    evaluate(task, folder / "trained/best.ckpt", folder / "prepared", params.evaluate, run, reports)
    write_reports(folder / "prepared", reports)
    checkpoint = folder / "trained/best.ckpt"
    export(task, checkpoint, reports, folder / "prepared", params, run, folder / "models/image")
    return folder / "models"


@pytest.fixture(scope="module")
def image_sides(models: Path, colour_models: Path) -> dict[str, tuple[Model, Predictor]]:
    return {
        kind: (Model("image", folder / "image", "fp32"), service(folder))
        for kind, folder in zip(KINDS, (models, colour_models), strict=True)
    }


@pytest.fixture(scope="module")
def text_sides(models: Path) -> tuple[Model, Predictor]:
    return Model("text", models / "text", "fp32"), service(models)


def service(models: Path) -> Predictor:
    return Predictor(models, load_settings().model_copy(update={"precision": "fp32", "device": "cpu"}))


def predicted(model: Model, contents: list[Any]) -> list[tuple[str, float] | str]:
    """By `relu-pipeline predict`: label and probability, or the error."""
    found = model.predict([Item(number, lambda content=content: content) for number, content in enumerate(contents)])
    return [
        one.error if one.label is None else (model.manifest.labels[one.label], float(one.probability)) for one in found
    ]


def answered(predictor: Predictor, task: str, contents: list[Any]) -> list[tuple[str, float] | str]:
    """By the service, as `predicted`."""
    entries = predictor.classify_batch(task, contents)["predictions"]
    return [
        entry["error"]["message"] if "error" in entry else (entry["label"], entry["probability"]) for entry in entries
    ]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pictures=st.lists(PICTURES, min_size=1, max_size=6))
def test_an_image_is_one_input_and_one_prediction(
    image_sides: dict[str, tuple[Model, Predictor]], tmp_path: Path, kind: str, pictures: list[tuple[str, bytes]]
) -> None:
    model, predictor = image_sides[kind]
    contents = [content for mode, content in pictures if kind == "colour" or mode in GREY]
    if not contents:
        return
    squares = prepared_images(tmp_path, contents)
    assert squares.shape[1:3] == (SIDE, SIDE)
    for square, content in zip(squares, contents, strict=True):
        for decode in (model.reader.decode, predictor.stores["image"].current.decode):
            np.testing.assert_array_equal(decode(content), square[..., : model.reader.channels])
    assert predicted(model, contents) == answered(predictor, "image", contents)


def prepared_images(folder: Path, contents: list[bytes]) -> np.ndarray:
    """As `prepare` packs the images of files."""
    files = []
    for number, content in enumerate(contents):
        (folder / f"{number}").write_bytes(content)
        files.append(PictureFile(folder / f"{number}", artifacts.sha256_of(folder / f"{number}"), 1))
    packing.save_split(folder, "test", files, np.zeros(len(files), np.int64), SIDE)
    return np.load(folder / "test_images.npy")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(TEXTS, min_size=1, max_size=6))
def test_a_text_is_one_input_and_one_prediction(
    text_sides: tuple[Model, Predictor], models: Path, tmp_path: Path, contents: list[str]
) -> None:
    model, predictor = text_sides
    contents = list(map(as_text, contents))  # as tables are read
    tokenizer = Tokenizer.from_file(str(models / "text/tokenizer.json"))
    texts.save_split(tmp_path, "test", tokenizer, contents, np.zeros(len(contents), np.int64))
    split = texts.TextSplit.load(tmp_path, "test")
    for number, content in enumerate(contents):
        for decode in (model.reader.decode, predictor.stores["text"].current.decode):
            assert token_ids(decode, content) == split.token_ids(number)
    assert predicted(model, contents) == answered(predictor, "text", contents)


def token_ids(decode: Callable[[str], list[int]], text: str) -> list[int]:
    """Return none for a text that is refused as empty: preparation finds no words in it either."""
    try:
        return decode(text)
    except InputError as error:
        return [] if error.code == "empty_text" else [-1]
