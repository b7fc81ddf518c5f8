"""Batches of a prepared split, which stays on the training device."""

from collections.abc import Iterator
from typing import Protocol, Self

import torch
from torch import Tensor, distributed

from relu_pipeline.data.augment import Augmented
from relu_pipeline.data.randomness import generator


class PreparedSplit(Protocol):
    """The examples of a split, as `prepare` stored them."""

    @property
    def labels(self) -> Tensor:
        """Labels, int64 `[N]`."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> Self: ...

    def take(self, rows: Tensor) -> Self:
        """Return a split of only the examples with these indices."""

    def gather(self, rows: Tensor) -> Tensor:
        """Return the examples with these indices as network inputs `[B, ...]`."""


class OrderedBatches:
    """Batches of all examples in their stored order; the last batch may be smaller."""

    def __init__(self, split: PreparedSplit, batch_size: int) -> None:
        self.split = split
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.split(torch.arange(len(self.split), device=self.split.labels.device), self.batch_size):
            yield self.split.gather(rows), self.split.labels[rows]


class ShuffledBatches:
    """Shuffled batches, without an incomplete last one.

    The order depends only on the seed and the epoch. In distributed training, each process gets its part of each batch.
    """

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
