"""Interface of a task: everything after data preparation that differs between tasks.

To add a task, implement `Task` in a module of `tasks/`, add entries to `validation.validate.MEASURES`,
`data.prepare.PREPARERS` and `drift.shifts.SHIFTS`, and add a section to params.yaml and tests. These three are not part
of the interface, because a stage depends on every module that it imports: changing them would cause a new training.
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
    """Training budget: the total number of `examples`, and the minimum and maximum of epochs and of the batch size."""

    examples: int
    epochs: tuple[int, int]
    batch_sizes: tuple[int, int]

    def settle(self, config: TrainConfig, rows: int) -> dict[str, int]:
        """Return values for those of `max_epochs` and `batch_size` that are `auto`, for `rows` training examples."""
        numbers = {"max_epochs": self.epochs_for(rows), "batch_size": self.batch_size_for(rows)}
        return {name: number for name, number in numbers.items() if is_auto(getattr(config, name))}

    def epochs_for(self, rows: int) -> int:
        return _within(round(self.examples / rows), self.epochs)

    def batch_size_for(self, rows: int) -> int:
        """Return the power of two that is closest to 1/128 of the examples, within the limits."""
        return _within(2 ** max(0, round(math.log2(rows / BATCHES_AN_EPOCH))), self.batch_sizes)


def _within(number: int, bounds: tuple[int, int]) -> int:
    least, most = bounds
    return min(max(number, least), most)


class Task(ABC, Generic[SplitT]):
    """Interface of a task. `prepared` is the folder that the stage `prepare` writes."""

    name: ClassVar[TaskName]
    input_name: ClassVar[str]  # of the graph
    dynamic_axes: ClassVar[Mapping[int, str]]  # of the graph's input
    served_files: ClassVar[Sequence[str]]  # files of `prepared` that the service needs besides the graph

    @abstractmethod
    def load(self, prepared: Path, split: Split) -> SplitT:
        """Return a prepared split. Only `evaluate`, `drift` and the checks of `export` may load "test"."""

    @abstractmethod
    def settle(self, config: Any, train: SplitT, num_classes: int) -> Any:
        """Return the task's section of params.yaml with a value in place of each `auto` of `model` and `train`."""

    @abstractmethod
    def augment(self, train: SplitT, config: Any, seed: int) -> Augmented:
        """Return the training split with augmentation; `config` is the task's `train` section."""

    @abstractmethod
    def network_settings(self, train: SplitT, prepared: Path) -> dict[str, Any]:
        """Return the network's constructor arguments that depend on the data, except `num_classes`."""

    @abstractmethod
    def fit_input(self, network: Any, train: SplitT) -> None:
        """Fit the network's input statistics to the training split; called once before training."""

    @abstractmethod
    def shown(self, split: SplitT, rows: NDArray[Any], prepared: Path) -> list[Any]:
        """Return the examples with the indices `rows` for display: images uint8 `[H, W, C]`, or texts."""

    @abstractmethod
    def to_sample(self, prepared: Path) -> Callable[[Tensor], str | None]:
        """Return a function from a graph input `[1, ...]` to `Sample.input`, or to None if there is no such sample."""
