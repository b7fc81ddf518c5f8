"""Conversion of images of any size to the arrays that `ImageSplit` loads."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from relu_pipeline.artifacts import Split
from relu_pipeline.data.pictures import CHUNK, Picture, map_chunks

SIDES = (32, 64, 128, 224)


def automatic_side(pictures: Sequence[Picture]) -> int:
    """Return the largest of `SIDES` that is at most the median of the images' shorter sides, or else the smallest."""
    median = float(np.median([min(picture.size) for picture in pictures]))
    return max((side for side in SIDES if side <= median), default=SIDES[0])


def save_split(folder: Path, split: Split, pictures: Sequence[Picture], labels: NDArray[np.int64], side: int) -> None:
    """Decode `pictures` in parallel and write what `ImageSplit.load` reads, with images uint8 `[N, side, side, 3]`.

    Raises DataError naming the file.
    """
    np.save(folder / f"{split}_labels.npy", labels)
    images = open_memmap(_images_path(folder, split), "w+", np.uint8, (len(pictures), side, side, 3))

    def decode(start: int, chunk: Sequence[Picture]) -> None:
        for row, picture in enumerate(chunk, start):
            images[row] = picture.square(side)

    deque(map_chunks(decode, pictures, f"{split} images"), maxlen=0)
    images.flush()


def drop_colours_of_grey(folder: Path, splits: Sequence[Split]) -> None:
    """Reduce the stored images to one channel if all images of all splits are grey."""
    arrays = {split: np.load(_images_path(folder, split), mmap_mode="r") for split in splits}
    if all(
        _is_grey(array[start : start + CHUNK]) for array in arrays.values() for start in range(0, len(array), CHUNK)
    ):
        for split, array in arrays.items():
            np.save(folder / f".{split}.npy", array[..., :1])
            (folder / f".{split}.npy").replace(_images_path(folder, split))


def _is_grey(images_NHWC: NDArray[np.uint8]) -> bool:
    return bool((images_NHWC == images_NHWC[..., :1]).all())


def _images_path(folder: Path, split: Split) -> Path:
    return folder / f"{split}_images.npy"
