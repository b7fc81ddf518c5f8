"""What differs between tasks once their data are prepared.

A third task is a module in `tasks/`, entries in `validation.validate.MEASURES`, `data.prepare.PREPARERS` and
`drift.shifts.SHIFTS`, its section of params.yaml and its tests. Those three stand apart, or their edits would
train anew: a stage depends on all that it imports.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from numpy.typing import NDArray
from torch import Tensor

from relu_pipeline.artifacts import Split
from relu_pipeline.config import TaskName, TrainConfig, is_auto
from relu_pipeline.data.augment import Augmented
from relu_pipeline.data.batches import PreparedSplit

SplitT = TypeVar("SplitT", bound=PreparedSplit)
BATCHES_AN_EPOCH = 128


@dataclass(frozen=True)
class Budget:
    """How long a network is trained: `examples` in all, epochs and batch sizes from least to most."""

    examples: int
    epochs: tuple[int, int]
    batch_sizes: tuple[int, int]

    def settle(self, config: TrainConfig, rows: int) -> dict[str, int]:
        """Return a number for each of epochs and batch size that is `auto`."""
        numbers = {"max_epochs": self.epochs_for(rows), "batch_size": self.batch_size_for(rows)}
        return {name: number for name, number in numbers.items() if is_auto(getattr(config, name))}

    def epochs_for(self, rows: int) -> int:
        return _within(round(self.examples / rows), self.epochs)

    def batch_size_for(self, rows: int) -> int:
        """Return the power of two next to a 128th of the rows."""
        return _within(2 ** max(0, round(math.log2(rows / BATCHES_AN_EPOCH))), self.batch_sizes)


def _within(number: int, bounds: tuple[int, int]) -> int:
    least, most = bounds
    return min(max(number, least), most)


class Task(ABC, Generic[SplitT]):
    """`prepared` is the folder that the stage `prepare` fills."""

    name: ClassVar[TaskName]
    input_name: ClassVar[str]  # of the graph
    dynamic_axes: ClassVar[Mapping[int, str]]  # of the graph's input
    served_files: ClassVar[Sequence[str]]  # of `prepared`: what the service needs besides the graph

    @abstractmethod
    def load(self, prepared: Path, split: Split) -> SplitT:
        """Only `evaluate`, `drift` and the checks of `export` may ask for "test"."""

    @abstractmethod
    def settle(self, config: Any, train: SplitT, num_classes: int) -> Any:
        """Return the task's section of params.yaml with a number in place of each `auto` of `model` and `train`."""

    @abstractmethod
    def augment(self, train: SplitT, config: Any, seed: int) -> Augmented:
        """Return the rows as training sees them; `config` is the task's `train` section."""

    @abstractmethod
    def network_settings(self, train: SplitT, prepared: Path) -> dict[str, Any]:
        """Return the constructor's arguments that follow from the data, besides `num_classes`."""

    @abstractmethod
    def fit_input(self, network: Any, train: SplitT) -> None:
        """Let the network learn what it can in one look, before the first step."""

    @abstractmethod
    def shown(self, split: SplitT, rows: NDArray[Any], prepared: Path) -> list[Any]:
        """Return these rows as people see them: pictures uint8 `[H, W, C]`, or texts."""

    @abstractmethod
    def to_sample(self, prepared: Path) -> Callable[[Tensor], str | None]:
        """Return what turns a row of the graph's input, `[1, ...]`, into `Sample.input`; None where it cannot."""
