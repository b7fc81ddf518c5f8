"""A minute of requests that gives every panel of the dashboard something to show."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.peers.serving.forms import Content, write_batch, write_raw
from benchmarks.reliability import variants
from benchmarks.reliability.bench import Bench, post
from benchmarks.reliability.client import Record, loading, open_loop
from relu_pipeline import artifacts
from relu_pipeline.config import TaskName
from relu_pipeline.data.formats import read_raw
from relu_pipeline.data.randomness import generator
from relu_pipeline.drift.shifts import photographs

SEED = 0
EXAMPLES = 512  # of the test split of each task
BATCH = 32
BATCHES_PER_S = 6.0
SINGLES_PER_S = 80.0
MISTAKES_PER_S = 9.0
MISTAKES = [
    post("/classify_text", "application/json", b'{"text": ""}'),
    post("/classify_image", "image/png", b"not an image"),
    post("/classify_text", "text/plain", b"The striker wins the cup final"),
]
OVERLOAD_BATCH = 256
OVERLOAD_PER_S = 100.0  # batches: more images than two cores classify
OVERLOAD_S = 4.0
PHOTOGRAPHS = slice(None, None, 4)  # the images that photographs replace
PAUSE_S = 8.0


async def send_load(bench: Bench, project: Path) -> float:
    """Send examples of the test splits, and mistakes; after half a minute, photographs replace a quarter of the images.

    Meanwhile the text model is swapped twice, the service is overloaded once, and it rejects a broken model. Return
    the Unix time at which the first request was sent.
    """
    images, texts = read_images(project), read_examples(project, "text")
    usual = as_png(images)
    shifted = list(usual)
    shifted[PHOTOGRAPHS] = as_png(photographs(images[PHOTOGRAPHS]))
    served = bench.models / "text"
    with TemporaryDirectory() as scratch:
        first, renamed, broken = (
            make(served, Path(scratch) / make.__name__).folder
            for make in (variants.first, variants.renamed, variants.unlike)
        )
        start_s = time.time()
        async with sending(bench.port, usual, texts):
            for folder in (renamed, first):
                await asyncio.sleep(PAUSE_S)
                variants.place(folder, served)
            await asyncio.sleep(PAUSE_S)
            await open_loop(bench.port, batches(usual, OVERLOAD_BATCH), OVERLOAD_PER_S, OVERLOAD_S)
            await asyncio.sleep(PAUSE_S)
        async with sending(bench.port, shifted, texts):
            await asyncio.sleep(PAUSE_S)
            variants.place(broken, served)
            await asyncio.sleep(2 * PAUSE_S)
    return start_s


@asynccontextmanager
async def sending(port: int, images: Sequence[bytes], texts: Sequence[str]) -> AsyncIterator[None]:
    """Send single examples, batches and mistakes at steady rates while the block runs."""
    async with (
        loading(port, in_turn(singles(images), singles(texts)), SINGLES_PER_S, Record()),
        loading(port, in_turn(batches(images, BATCH), batches(texts, BATCH)), BATCHES_PER_S, Record()),
        loading(port, MISTAKES, MISTAKES_PER_S, Record()),
    ):
        yield


def read_examples(project: Path, task: TaskName) -> list[Any]:
    """Return examples of the test split in random order: a `Picture` each, or a text."""
    examples, _ = read_raw(project / artifacts.raw_dir(task), "test")
    return [examples[row] for row in generator(SEED, task).permutation(len(examples))[:EXAMPLES]]


def read_images(project: Path) -> NDArray[np.uint8]:
    """Return images of the test split, uint8 `[N, side, side, 3]`, in the size that the network takes."""
    manifest = artifacts.read_manifest(project / artifacts.models_dir("image"), "image")
    side = int(manifest.input.shape[1])
    return np.stack([picture.square(side) for picture in read_examples(project, "image")])


def as_png(images_NHWC: NDArray[np.uint8]) -> list[bytes]:
    files = [io.BytesIO() for _ in images_NHWC]
    for image, file in zip(images_NHWC, files, strict=True):
        Image.fromarray(image).save(file, "PNG")
    return [file.getvalue() for file in files]


def singles(contents: Sequence[Content]) -> list[bytes]:
    path = "/classify_image" if isinstance(contents[0], bytes) else "/classify_text"
    return [post(path, *write_raw([content])) for content in contents]


def batches(contents: Sequence[Content], size: int) -> list[bytes]:
    path = "/classify_images" if isinstance(contents[0], bytes) else "/classify_texts"
    starts = range(0, len(contents), size)
    return [post(path, *write_batch(contents[start : start + size])) for start in starts]


def in_turn(images: Sequence[bytes], texts: Sequence[bytes]) -> list[bytes]:
    return [request for pair in zip(images, texts, strict=False) for request in pair]
