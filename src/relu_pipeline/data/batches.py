"""Batches of a prepared split, on the device of the split."""

from collections.abc import Iterator
from typing import Protocol, Self

import torch
from torch import Tensor

from relu_pipeline.data.augment import Augmented
from relu_pipeline.data.randomness import generator
from relu_pipeline.processes import rank_and_world_size


class PreparedSplit(Protocol):
    """The examples of a split, as `prepare` stored them."""

    @property
    def labels(self) -> Tensor:
        """Labels, int64 `[N]`."""

    @property
    def nbytes(self) -> int:
        """Bytes of the memory-mapped array."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> Self:
        """Return a copy in the memory of the device."""

    def take(self, rows: Tensor) -> Self:
        """Return a split of only the examples with these indices."""

    def gather(self, rows: Tensor) -> Tensor:
        """Return the examples with these indices as network inputs `[B, ...]`."""


class OrderedBatches:
    """Batches of all examples in their stored order, of nearly equal sizes up to `batch_size`.

    `share` is a rank and the number of processes: each process gets other examples in the same number of batches.
    """

    def __init__(self, split: PreparedSplit, batch_size: int, share: tuple[int, int] = (0, 1)) -> None:
        self.split = split
        self.batch_size = batch_size
        self.rank, self.world_size = share

    def __len__(self) -> int:
        return -(-len(self.split) // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        share = torch.arange(self.rank, len(self.split), self.world_size, device=self.split.labels.device)
        for rows in torch.tensor_split(share, len(self)):
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
