"""Batches out of data that are held in memory, on the device that trains."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from relu_pipeline.artifacts import Split
from relu_pipeline.config import Task
from relu_pipeline.data.augment import Augment
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.randomness import generator
from relu_pipeline.data.texts import TextSplit

AnySplit = ImageSplit | TextSplit
SPLIT_TYPES: dict[Task, type[AnySplit]] = {"image": ImageSplit, "text": TextSplit}


def load_split(task: Task, prepared: Path, split: Split) -> AnySplit:
    """Only `evaluate` and the export's parity check may ask for "test"."""
    return SPLIT_TYPES[task].load(prepared, split)


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

    def __init__(self, split: AnySplit, batch_size: int, seed: int, augment: Augment) -> None:
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
        order = generator(self.seed, "order", self.epoch).permutation(len(self.split))
        rng = generator(self.seed, "augment", self.epoch)
        order_on_device = torch.from_numpy(order).to(self.split.labels.device)
        for rows in order_on_device[: len(self) * self.batch_size].split(self.batch_size):
            yield self.augment(self.split.gather(rows), rng), self.split.labels[rows]
