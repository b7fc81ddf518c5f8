"""Images of a data set before preparation, in memory or in files."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from relu_inputs.errors import InputError
from relu_inputs.images import decode_image, middle_square
from relu_pipeline.errors import DataError, UnreadableError

MAX_PIXELS = 100_000_000
CHUNK = 64  # images that a thread decodes at a time
MAX_BYTES = 4 * MAX_PIXELS  # file size of the largest image, uncompressed

ResultT = TypeVar("ResultT")


def read_image(path: Path) -> bytes:
    """Return the content of an image file. Raises InputError if it is too large, OSError if it cannot be read."""
    if (size := path.stat().st_size) > MAX_BYTES:
        message = f"The file has {size:,} bytes; images have at most {MAX_BYTES:,}."
        raise InputError("image_too_large", message, too_large=True)
    return path.read_bytes()


class Picture(Protocol):
    """Image before preparation."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    @property
    def identity(self) -> str:
        """Digest of the content, the same for equal images."""

    def square(self, side: int) -> NDArray[np.uint8]:
        """Return the centre square, uint8 `[side, side, 3]`.

        Raises UnreadableError if the file cannot be decoded, DataError if it has changed or is missing.
        """


@dataclass(frozen=True)
class Pixels:
    """Image in memory; `pixels` uint8 `[H, W, 3]`."""

    pixels: NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        height, width, _ = self.pixels.shape
        return width, height

    @property
    def identity(self) -> str:
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()

    def square(self, side: int) -> NDArray[np.uint8]:
        if self.pixels.shape == (side, side, 3):
            return self.pixels
        return np.asarray(middle_square(Image.fromarray(self.pixels), side))


@dataclass(frozen=True)
class PictureFile:
    """PNG, JPEG or WebP file, with the digest it had when it was listed."""

    path: Path
    sha256: str
    size: tuple[int, int]

    @property
    def identity(self) -> str:
        return self.sha256

    def square(self, side: int) -> NDArray[np.uint8]:
        try:
            content = read_image(self.path)
            if hashlib.sha256(content).hexdigest() != self.sha256:
                raise DataError(f"{self.path}: has changed since it was listed; run `dvc repro` again")
            return decode_image(content, side, 3, MAX_PIXELS)
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror}; run `dvc repro` again") from error
        except InputError as error:
            raise UnreadableError(self.path, str(error)) from error


def map_chunks(
    work: Callable[[int, Sequence[Picture]], ResultT], pictures: Sequence[Picture], title: str
) -> Iterator[ResultT]:
    """Apply `work` to chunks of `CHUNK` pictures in parallel and yield the results in order.

    `work` takes the index of the first picture of the chunk and the pictures. Threads suffice, as decoding releases
    the GIL. A terminal shows a progress bar.
    """
    starts = range(0, len(pictures), CHUNK)
    with ThreadPoolExecutor() as pool, tqdm(total=len(pictures), desc=title, disable=None) as progress:
        for start, result in zip(starts, pool.map(lambda s: work(s, pictures[s : s + CHUNK]), starts), strict=True):
            yield result
            progress.update(len(pictures[start : start + CHUNK]))
