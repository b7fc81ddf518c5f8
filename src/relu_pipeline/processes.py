"""The processes of a distributed training (https://docs.pytorch.org/docs/stable/distributed.html)."""

import os
from typing import TypeVar

from torch import distributed

T = TypeVar("T")


def starts_first() -> bool:
    """Return whether this process has the rank 0 in the environment of torchrun or of Lightning."""
    names = ("RANK",) if distributed.is_torchelastic_launched() else ("NODE_RANK", "LOCAL_RANK")
    return all(int(os.environ.get(name, "0")) == 0 for name in names)


def rank_and_world_size() -> tuple[int, int]:
    """Return the number of this process, from 0 on, and the number of processes; 0 and 1 if there is no group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def of_all_processes(value: T) -> list[T]:
    """Return the value of each process, by rank. Blocks until all processes of the group have called it."""
    _, world_size = rank_and_world_size()
    if world_size == 1:
        return [value]
    values: list[T] = [value] * world_size
    distributed.all_gather_object(values, value)
    return values
