"""Latency of small images together with large photographs, and of photographs together with batches."""

import asyncio
import base64
import io
from itertools import cycle, islice
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.peers.serving.forms import write_batch
from benchmarks.reliability.bench import Bench, Outcome, Promise, latencies_ms, p99_ms, post, samples
from benchmarks.reliability.client import closed_loop

SIZES = {"200 kB": (1280, 960, 200_000), "3 MB": (4000, 3000, 3_000_000)}  # width, height, bytes of the JPEG
CONNECTIONS = 8
SMALL_FOR_EACH = 9  # one request in ten is a photograph
SMALL_BYTES = 65_536
P99_TIMES = 2
BATCH_CONNECTIONS = 2
BATCH_IMAGES = 256
MEDIAN_MS = 250


async def measure_beside(bench: Bench, size: str, calm_s: float) -> Outcome:
    """Run closed loops of `calm_s` with small images only, then with a photograph in every ten requests."""
    small = bench.requests("image")
    turns = cycle(small)
    photograph = post("/classify_image", "image/jpeg", jpeg(*SIZES[size]))
    mixed = [request for _ in small for request in (*islice(turns, SMALL_FOR_EACH), photograph)]
    alone = await closed_loop(bench.port, small, CONNECTIONS, calm_s)
    beside = await closed_loop(bench.port, mixed, CONNECTIONS, calm_s)
    alone_s, beside_s = (record.seconds(max_bytes=SMALL_BYTES) for record in (alone, beside))
    figures = {
        "photograph_bytes": len(photograph),
        "small_alone": {"per_s": len(alone_s) / calm_s, "ms": latencies_ms(alone_s)},
        "small_beside": {"per_s": len(beside_s) / calm_s, "ms": latencies_ms(beside_s)},
        "statuses": beside.statuses(),
    }
    promises = [
        Promise("responses other than 200", alone.others("200") + beside.others("200"), 0),
        Promise("p99 of small images, relative to small images only", p99_ms(beside_s) / p99_ms(alone_s), P99_TIMES),
    ]
    return Outcome(figures, promises)


async def measure_beside_batches(bench: Bench, calm_s: float) -> Outcome:
    """Run a closed loop of `calm_s` with one photograph at a time, while other connections send batches."""
    images = [base64.b64decode(content) for content in samples(bench.models / "image")]
    batch = post("/classify_images", *write_batch(list(islice(cycle(images), BATCH_IMAGES))))
    photograph = post("/classify_image", "image/jpeg", jpeg(*SIZES["200 kB"]))
    batches, photographs = await asyncio.gather(
        closed_loop(bench.port, [batch], BATCH_CONNECTIONS, calm_s),
        closed_loop(bench.port, [photograph], 1, calm_s),
    )
    photograph_s = photographs.seconds()
    figures = {
        "photographs": {"statuses": photographs.statuses(), "ms": latencies_ms(photograph_s)},
        "batches": {"statuses": batches.statuses(), "ms": latencies_ms(batches.seconds())},
    }
    promises = [
        Promise("responses other than 200", photographs.others("200") + batches.others("200"), 0),
        Promise("median of a photograph, ms", 1e3 * median(photograph_s) if len(photograph_s) else np.inf, MEDIAN_MS),
    ]
    return Outcome(figures, promises)


def jpeg(width: int, height: int, size: int) -> bytes:
    """Return a JPEG of noise at several scales, like a photograph, in the quality with a size closest to `size`.

    It is deterministic.
    """
    rng = np.random.default_rng(0)
    pixels = np.zeros((height, width, 3), dtype=np.float32)
    for scale in (256, 64, 16, 4):
        noise = rng.integers(256, size=(height // scale + 1, width // scale + 1, 3), dtype=np.uint8)
        pixels += np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)) / 4
    image = Image.fromarray(pixels.astype(np.uint8))
    return min((_encoded(image, quality) for quality in range(20, 100, 5)), key=lambda found: abs(len(found) - size))


def _encoded(image: Image.Image, quality: int) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()
