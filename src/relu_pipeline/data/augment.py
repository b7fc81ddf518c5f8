"""Data augmentation, drawn anew in each epoch. It depends only on the seed, the epoch and the example's index."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from relu_pipeline.artifacts import PAD_ID
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.randomness import generator
from relu_pipeline.data.texts import TextSplit

GREY = 128
CHUNK = 1 << 20  # random numbers at a time, to bound the memory


class Augmented(Protocol):
    """Training split with augmentation; `labels` int64 `[N]`."""

    labels: Tensor

    def draw(self, epoch: int) -> None:
        """Draw the augmentation of this epoch; `gather` applies it."""

    def gather(self, rows: Tensor) -> Tensor:
        """Return the augmented examples with these indices as network inputs `[B, ...]`."""


class AugmentedImages:
    """Images with random crops, alternating flips, erasing and colour jitter.

    Crops are taken after `padding` pixels of reflection padding. Each image is flipped in every second epoch (Jordan
    2024, arXiv:2404.00498). `erasing` is the side of a grey square at a random position, as a fraction of the image's
    side; it may be cut off by the border (cutout, DeVries & Taylor 2017, arXiv:1708.04552). `colour` is the maximum
    change of the scale and of the offset of each channel: 0.2 multiplies by 0.8 to 1.2 and adds up to a fifth of the
    range.
    """

    def __init__(self, split: ImageSplit, padding: int, flip: bool, erasing: float, colour: float, seed: int) -> None:
        self.labels = split.labels
        self.padding = padding
        self.flip = flip
        self.erasing = erasing
        self.colour = colour
        self.seed = seed
        self.images_BHWC = split.images_BHWC

    def draw(self, epoch: int) -> None:
        _, height, width, channels = self.images_BHWC.shape
        size, device = len(self.labels), self.labels.device
        shifts = generator(self.seed, "shift", epoch).integers(2 * self.padding + 1, size=(2, size))
        odd = generator(self.seed, "flip").integers(2, size=size)
        self.down, self.right = torch.from_numpy(shifts).to(device)
        self.flipped = torch.from_numpy((odd + epoch) % 2 == 1).to(device) & self.flip
        if self.erasing:
            centres = generator(self.seed, "erase", epoch).random((2, size), dtype="float32") * [[height], [width]]
            self.centre_y, self.centre_x = torch.from_numpy(centres).float().to(device)
        if self.colour:
            changes = generator(self.seed, "colour", epoch).random((2, size, channels), dtype="float32") * 2 - 1
            self.scale, self.level = torch.from_numpy(self.colour * changes).to(device)

    def gather(self, rows: Tensor) -> Tensor:
        """Return the augmented images, uint8 `[B, H, W, C]`."""
        crops_BHWC = self._crop(rows)
        images_BHWC = torch.where(self.flipped[rows, None, None, None], crops_BHWC.flip(2), crops_BHWC)
        if self.colour:
            scale, level = (of[rows, None, None, :] for of in (1 + self.scale, 255 * self.level))
            images_BHWC = (images_BHWC * scale + level).round().clamp(0, 255).to(torch.uint8)
        if self.erasing:
            images_BHWC = images_BHWC.masked_fill(self._erased(rows)[..., None], GREY)
        return images_BHWC

    def _crop(self, rows: Tensor) -> Tensor:
        # Each batch is padded on its own, so that the whole split can stay memory-mapped.
        images_BHWC = self.images_BHWC[rows]
        _, height, width, channels = images_BHWC.shape
        padded = pad_reflect(images_BHWC, self.padding).flatten(2)
        # A view `[B, shift down, shift right, H, W * C]`: indexing its first three axes copies contiguous lines.
        windows = padded.unfold(1, height, 1).unfold(2, width * channels, channels)
        batch = torch.arange(len(rows), device=rows.device)
        return windows[batch, self.down[rows], self.right[rows]].view_as(images_BHWC)

    def _erased(self, rows: Tensor) -> Tensor:
        """Return the mask of the pixels under the square, bool `[B, H, W]`."""
        _, height, width, _ = self.images_BHWC.shape
        y, x = (torch.arange(length, device=rows.device) + 0.5 for length in (height, width))
        in_rows: Tensor = (y - self.centre_y[rows, None]).abs() < self.erasing * height / 2
        in_columns: Tensor = (x - self.centre_x[rows, None]).abs() < self.erasing * width / 2
        return in_rows[:, :, None] & in_columns[:, None, :]


class ThinnedTexts:
    """Texts with word dropout: each token is dropped with probability `fraction` (Iyyer et al. 2015)."""

    def __init__(self, split: TextSplit, fraction: float, seed: int) -> None:
        self.labels = split.labels
        self.split = split
        self.fraction = fraction
        self.seed = seed

    def draw(self, epoch: int) -> None:
        rng, kept = generator(self.seed, "drop", epoch), np.empty(len(self.split.tokens), dtype=bool)
        for start in range(0, len(kept), CHUNK):
            part = kept[start : start + CHUNK]
            np.greater_equal(rng.random(len(part), dtype="float32"), self.fraction, out=part)
        self.kept = torch.from_numpy(kept).to(self.split.tokens.device)

    def gather(self, rows: Tensor) -> Tensor:
        """Return token ids int64 `[B, L]`, with padding in place of dropped tokens."""
        positions, filled = self.split.positions(rows)
        return torch.where(filled & self.kept[positions], self.split.tokens[positions].long(), PAD_ID)


def pad_reflect(images_BHWC: Tensor, padding: int) -> Tensor:
    """Pad each side by `padding` pixels, reflected at the border pixel without repeating it."""
    for axis in (1, 2):
        size = images_BHWC.shape[axis]
        index = torch.arange(-padding, size + padding, device=images_BHWC.device)
        mirrored = (size - 1) - ((size - 1) - index.abs()).abs()
        images_BHWC = images_BHWC.index_select(axis, mirrored)
    return images_BHWC
