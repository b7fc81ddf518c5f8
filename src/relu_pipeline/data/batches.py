"""Batches out of data that are held in memory, on the device that trains."""

from collections.abc import Iterator
from typing import Protocol, Self

import torch
from torch import Tensor, distributed

from relu_pipeline.data.augment import Augmented
from relu_pipeline.data.randomness import generator


class PreparedSplit(Protocol):
    """The rows of a split, as `prepare` stored them."""

    @property
    def labels(self) -> Tensor:
        """int64 `[N]`."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> Self: ...

    def take(self, rows: Tensor) -> Self:
        """Return these rows alone."""

    def gather(self, rows: Tensor) -> Tensor:
        """Return these rows as the network takes them: `[B, ...]`."""


class OrderedBatches:
    """All rows in their order; the last batch may be smaller."""

    def __init__(self, split: PreparedSplit, batch_size: int) -> None:
        self.split = split
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.split(torch.arange(len(self.split), device=self.split.labels.device), self.batch_size):
            yield self.split.gather(rows), self.split.labels[rows]


class ShuffledBatches:
    """Full batches in an order that follows from seed and epoch. Each process of a group gets its share."""

    def __init__(self, rows: Augmented, batch_size: int, seed: int) -> None:
        self.rows = rows
        self.batch_size = min(batch_size, len(rows.labels))
        self.seed = seed
        self.set_epoch(0)

    def __len__(self) -> int:
        return len(self.rows.labels) // self.batch_size

    def set_epoch(self, epoch: int) -> None:
        order = generator(self.seed, "order", epoch).permutation(len(self.rows.labels))
        batches = order[: len(self) * self.batch_size].reshape(len(self), self.batch_size)
        rank, world_size = rank_and_world_size()
        self.order = torch.from_numpy(batches[:, rank::world_size].copy()).to(self.rows.labels.device)
        self.rows.draw(epoch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in self.order:
            yield self.rows.gather(rows), self.rows.labels[rows]


def rank_and_world_size() -> tuple[int, int]:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
