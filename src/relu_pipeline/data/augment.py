"""Augmentation of whole batches; `rng` alone decides what is drawn."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from relu_pipeline.artifacts import PAD_ID
from relu_pipeline.config import ImageTrainConfig, TextTrainConfig


class Augment(Protocol):
    def __call__(self, inputs: Tensor, rng: np.random.Generator) -> Tensor: ...


def build_augment(config: ImageTrainConfig | TextTrainConfig) -> Augment:
    if isinstance(config, ImageTrainConfig):
        return CropAndFlip(config.crop_padding, config.horizontal_flip)
    return WordDropout(config.word_dropout)


@dataclass(frozen=True)
class CropAndFlip:
    """Each image: a crop out of `padding` reflected pixels and a flip, at random. uint8 `[B, H, W, 3]`."""

    padding: int
    flip: bool

    def __call__(self, inputs: Tensor, rng: np.random.Generator) -> Tensor:
        batch_size, height, width = inputs.shape[:3]
        offsets = rng.integers(2 * self.padding + 1, size=(2, batch_size, 1))
        flipped = rng.integers(2, size=(batch_size, 1)) * self.flip == 1
        rows = offsets[0] + np.arange(height)
        columns = offsets[1] + np.where(flipped, np.arange(width)[::-1], np.arange(width))
        return crop(pad_reflect(inputs, self.padding), rows, columns)


@dataclass(frozen=True)
class WordDropout:
    """Each token is left out with probability `fraction` (Iyyer et al. 2015). int64 `[B, L]`."""

    fraction: float

    def __call__(self, inputs: Tensor, rng: np.random.Generator) -> Tensor:
        dropped = torch.from_numpy(rng.random(inputs.shape, dtype=np.float32) < self.fraction)
        return inputs.masked_fill(dropped.to(inputs.device), PAD_ID)


def pad_reflect(images_BHWC: Tensor, padding: int) -> Tensor:
    planes = images_BHWC.permute(0, 3, 1, 2).float()  # reflection is not implemented for uint8
    return F.pad(planes, (padding,) * 4, mode="reflect").to(torch.uint8).permute(0, 2, 3, 1)


def crop(images_BHWC: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """Pixel rows `[B, h]` and columns `[B, w]` of each image: `[B, h, w, C]`."""
    batch = torch.arange(len(images_BHWC), device=images_BHWC.device)
    rows_BH, columns_BW = (torch.from_numpy(index).to(images_BHWC.device) for index in (rows, columns))
    return images_BHWC[batch[:, None, None], rows_BH[:, :, None], columns_BW[:, None, :]]
