"""Prepared images: memory-mapped uint8 arrays, and their augmentation on whole batches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from relu_pipeline.artifacts import Split
from relu_pipeline.data.randomness import generator


def save_split(folder: Path, split: Split, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    np.save(folder / f"{split}_images.npy", images)
    np.save(folder / f"{split}_labels.npy", labels)


@dataclass(frozen=True)
class ImageSplit:
    """`images_BHWC` uint8 `[N, 32, 32, 3]`, `labels` int64 `[N]`."""

    images_BHWC: Tensor
    labels: Tensor

    @classmethod
    def load(cls, folder: Path, split: Split) -> Self:
        # Copy-on-write: torch warns of read-only memory, and nothing here writes.
        images = np.load(folder / f"{split}_images.npy", mmap_mode="c")
        return cls(torch.from_numpy(images), torch.from_numpy(np.load(folder / f"{split}_labels.npy")))

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "ImageSplit":
        return ImageSplit(self.images_BHWC.to(device), self.labels.to(device))

    def gather(self, rows: Tensor) -> Tensor:
        return self.images_BHWC[rows]


@dataclass(frozen=True)
class CropAndFlip:
    """Random crop out of reflected padding and random horizontal flip; row by row fixed by seed and epoch."""

    padding: int
    flip: bool
    seed: int

    def draw(self, num_rows: int, epoch: int) -> Tensor:
        """Vertical offset, horizontal offset and flip for each row: int64 `[num_rows, 3]`."""
        rng = generator(self.seed, "augmentation", epoch)
        offsets = rng.integers(2 * self.padding + 1, size=(num_rows, 2))
        flips = rng.integers(2 if self.flip else 1, size=(num_rows, 1))
        return torch.from_numpy(np.concatenate((offsets, flips), axis=1))

    def apply(self, images_BHWC: Tensor, draws: Tensor) -> Tensor:
        height, width = images_BHWC.shape[1:3]
        padded = _pad_reflect(images_BHWC, self.padding)
        down, right, flipped = draws.to(images_BHWC.device).T[..., None]
        rows = down + torch.arange(height, device=down.device)
        columns = torch.arange(width, device=down.device)
        columns = right + torch.where(flipped.bool(), width - 1 - columns, columns)
        batch = torch.arange(len(padded), device=down.device)
        return padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]]


def _pad_reflect(images_BHWC: Tensor, padding: int) -> Tensor:
    planes = images_BHWC.permute(0, 3, 1, 2).float()  # reflection is not implemented for uint8
    return F.pad(planes, (padding,) * 4, mode="reflect").to(torch.uint8).permute(0, 2, 3, 1)
