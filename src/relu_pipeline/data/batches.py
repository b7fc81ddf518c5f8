"""Batches out of data that are held in memory, on the device that trains."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from relu_pipeline.data.images import CropAndFlip, ImageSplit
from relu_pipeline.data.randomness import generator
from relu_pipeline.data.texts import TextSplit

AnySplit = ImageSplit | TextSplit


class Batches(Protocol):
    """What Lightning and the evaluation take: sized, and giving (inputs, labels)."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class OrderedBatches:
    """All rows in their order; the last batch may be smaller."""

    def __init__(self, split: AnySplit, batch_size: int) -> None:
        self.split = split
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.arange(len(self.split), device=self.split.labels.device).split(self.batch_size):
            yield self.split.gather(rows), self.split.labels[rows]


class ShuffledBatches:
    """Full batches in an order, and with an augmentation, that follow from seed and epoch alone."""

    def __init__(self, split: AnySplit, batch_size: int, seed: int, augment: CropAndFlip | None) -> None:
        self.split = split
        self.batch_size = min(batch_size, len(split))
        self.seed = seed
        self.augment = augment
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.split) // self.batch_size

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.from_numpy(generator(self.seed, "order", self.epoch).permutation(len(self.split)))
        draws = self.augment.draw(len(self.split), self.epoch) if self.augment else None
        for rows in order[: len(self) * self.batch_size].split(self.batch_size):
            inputs = self.split.gather(rows.to(self.split.labels.device))
            if self.augment and draws is not None:
                inputs = self.augment.apply(inputs, draws[rows])
            yield inputs, self.split.labels[rows.to(self.split.labels.device)]
