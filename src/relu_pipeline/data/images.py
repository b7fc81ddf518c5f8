"""Prepared images: memory-mapped uint8 arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from relu_pipeline.artifacts import Split
from relu_pipeline.data.arrays import memory_mapped


@dataclass(frozen=True)
class ImageSplit:
    """Prepared images: `images_BHWC` uint8 `[N, side, side, C]` and `labels` int64 `[N]`.

    C is 1 if all images of the data set are grey, else 3.
    """

    images_BHWC: Tensor
    labels: Tensor

    @classmethod
    def load(cls, folder: Path, split: Split) -> Self:
        labels = torch.from_numpy(np.load(folder / f"{split}_labels.npy"))
        return cls(memory_mapped(folder / f"{split}_images.npy"), labels)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        return self.images_BHWC.nbytes

    def to(self, device: torch.device) -> "ImageSplit":
        return ImageSplit(self.images_BHWC.to(device, copy=True), self.labels.to(device))

    def take(self, rows: Tensor) -> "ImageSplit":
        return ImageSplit(self.images_BHWC[rows], self.labels[rows])

    def gather(self, rows: Tensor) -> Tensor:
        """Return the images, uint8 `[B, side, side, C]`."""
        return self.images_BHWC[rows]
