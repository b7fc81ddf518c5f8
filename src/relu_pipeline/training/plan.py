"""Plan of a training: its settings, with a value in place of each `auto`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relu_pipeline import artifacts
from relu_pipeline.artifacts import PreparedMeta, Split
from relu_pipeline.config import HealthConfig, ImageConfig, TaskName, TextConfig, TrainConfig, flatten
from relu_pipeline.data.batches import PreparedSplit
from relu_pipeline.errors import ConfigError
from relu_pipeline.task import Task
from relu_pipeline.training.hardware import Hardware, resolve_hardware
from relu_pipeline.training.resume import training_key


@dataclass(frozen=True)
class Training:
    """Training job, with all settings resolved."""

    task: Task[Any]
    config: ImageConfig | TextConfig
    health: HealthConfig
    seed: int
    prepared: Path
    meta: PreparedMeta
    hardware: Hardware
    weights_sha256: str | None  # of the file with the initial weights

    @property
    def key(self) -> str:
        return training_key(self.config, self.seed, self.meta, self.hardware, self.weights_sha256)

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters in use, by their names in params.yaml."""
        sections = self.config.model_dump(exclude={"model"}) | {"model": self.config.model.used}
        return flatten({"seed": self.seed, self.task.name: sections})


def plan(
    task: Task[Any], config: ImageConfig | TextConfig, health: HealthConfig, seed: int, prepared: Path
) -> Training:
    """Return the training job, with a value in place of each `auto`.

    Raises ConfigError if a GPU or a file of weights is missing or the processes cannot share a batch, ArtifactError if
    the prepared data are missing.
    """
    meta = artifacts.read(prepared / artifacts.META, PreparedMeta)
    config = task.settle(config, task.load(prepared, "train"), len(meta.source.labels))
    hardware = resolve_hardware(task.name, config.train)
    _check_shares(task.name, config.train, meta.rows, hardware.processes)
    weights = config.model.weights_file
    if weights and not weights.is_file():
        raise ConfigError(f"{weights}: no such file; {task.name}.model in params.yaml names it as initial weights")
    weights_sha256 = artifacts.sha256_of(weights) if weights else None
    return Training(task, config, health, seed, prepared, meta, hardware, weights_sha256)


def _check_shares(task: TaskName, train: TrainConfig, rows: Mapping[Split, int], processes: int) -> None:
    if (fewest := min(rows["train"], rows["val"])) < processes:
        raise ConfigError(f"a split of {fewest} examples cannot be shared by {processes} processes; use fewer")
    size = min(train.batch_size, rows["train"])
    if size % processes:
        # `auto` scales the learning rate with the batch size; a number does not.
        raise ConfigError(
            f"params.yaml: batches of {size} examples cannot be shared equally by {processes} processes; set "
            f"{task}.train.batch_size to {size // processes * processes} and learning_rate to {train.learning_rate:g}"
        )


def network_settings(training: Training, train: PreparedSplit) -> dict[str, Any]:
    """Return the network's constructor arguments, from the model section and from the data."""
    of_data = training.task.network_settings(train, training.prepared)
    return training.config.model.settings | of_data | {"num_classes": len(training.meta.source.labels)}
