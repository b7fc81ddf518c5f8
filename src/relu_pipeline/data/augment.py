"""Splits whose rows are altered anew in each epoch. What is drawn for a row follows from seed, epoch and row alone."""

from typing import Protocol

import torch
from torch import Tensor

from relu_pipeline.artifacts import PAD_ID
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.randomness import generator
from relu_pipeline.data.texts import TextSplit


class Augmented(Protocol):
    labels: Tensor

    def draw(self, epoch: int) -> None:
        """Fix what `gather` gives in this epoch."""

    def gather(self, rows: Tensor) -> Tensor: ...


class ShiftedImages:
    """A random crop out of `padding` reflected pixels; a flip in every second epoch (Jordan 2024, arXiv:2404.00498)."""

    def __init__(self, split: ImageSplit, padding: int, flip: bool, seed: int) -> None:
        self.labels = split.labels
        self.padding = padding
        self.flip = flip
        self.seed = seed
        self.images_BHWC = split.images_BHWC

    def draw(self, epoch: int) -> None:
        size = len(self.labels)
        shifts = generator(self.seed, "shift", epoch).integers(2 * self.padding + 1, size=(2, size))
        odd = generator(self.seed, "flip").integers(2, size=size)
        self.down, self.right = torch.from_numpy(shifts).to(self.labels.device)
        self.flipped = torch.from_numpy((odd + epoch) % 2 == 1).to(self.labels.device) & self.flip

    def gather(self, rows: Tensor) -> Tensor:
        """uint8 `[B, H, W, C]`."""
        # Padded batch by batch: the images stay memory-mapped, however many there are.
        images_BHWC = self.images_BHWC[rows]
        _, height, width, channels = images_BHWC.shape
        padded = pad_reflect(images_BHWC, self.padding).flatten(2)
        # A view: [B, shift down, shift right, H, W * C]. Indexed by its first three axes it copies whole lines.
        windows = padded.unfold(1, height, 1).unfold(2, width * channels, channels)
        batch = torch.arange(len(rows), device=rows.device)
        crops_BHWC = windows[batch, self.down[rows], self.right[rows]].view_as(images_BHWC)
        return torch.where(self.flipped[rows, None, None, None], crops_BHWC.flip(2), crops_BHWC)


class ThinnedTexts:
    """Each token is left out with probability `fraction` (word dropout, Iyyer et al. 2015)."""

    def __init__(self, split: TextSplit, fraction: float, seed: int) -> None:
        self.labels = split.labels
        self.split = split
        self.fraction = fraction
        self.seed = seed

    def draw(self, epoch: int) -> None:
        tokens = self.split.tokens
        dropped = generator(self.seed, "drop", epoch).random(len(tokens), dtype="float32") < self.fraction
        thinned = tokens.masked_fill(torch.from_numpy(dropped).to(tokens.device), PAD_ID)
        self.thinned = TextSplit(thinned, self.split.offsets, self.labels)

    def gather(self, rows: Tensor) -> Tensor:
        """Token ids int64 `[B, L]`, those left out as padding."""
        return self.thinned.gather(rows)


def pad_reflect(images_BHWC: Tensor, padding: int) -> Tensor:
    """`padding` pixels on each side, mirrored at the edge pixel, which is not repeated."""
    for axis in (1, 2):
        size = images_BHWC.shape[axis]
        index = torch.arange(-padding, size + padding, device=images_BHWC.device)
        mirrored = (size - 1) - ((size - 1) - index.abs()).abs()
        images_BHWC = images_BHWC.index_select(axis, mirrored)
    return images_BHWC
