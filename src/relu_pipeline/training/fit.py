"""Training of one network, from the plan and the prepared data to the best checkpoint and its history."""

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from relu_pipeline.data.batches import OrderedBatches, PreparedSplit
from relu_pipeline.errors import INTERRUPTED, ConfigError, TrainingError
from relu_pipeline.health.record import Row
from relu_pipeline.models.catalogue import build_network
from relu_pipeline.models.checkpoint import save_checkpoint
from relu_pipeline.tracking.run import NullRun, Run
from relu_pipeline.training.calibration import Calibration, calibrate
from relu_pipeline.training.callbacks import EpochHook, EpochReport, HealthReport, KeptWeights, kept_epoch
from relu_pipeline.training.data import EVAL_BATCH_SIZE, TrainingData
from relu_pipeline.training.module import Classifier, balanced_class_weights
from relu_pipeline.training.plan import Training, network_settings
from relu_pipeline.training.resume import TrainingState
from relu_pipeline.training.trainer import run_trainer

FEW_STEPS = 100


@dataclass(frozen=True)
class Fitted:
    """Result of a training."""

    history: list[dict[str, float]]
    health: list[Row]
    steps_per_epoch: int
    calibration: Calibration
    kept: dict[str, float]  # entry of `history` of the epoch whose weights are kept

    def __str__(self) -> str:
        scores = f"accuracy {self.kept['val/accuracy']:.4f}, macro F1 {self.kept['val/f1_macro']:.4f}"
        return f"{scores}, temperature {self.calibration.temperature:.3f}"


@dataclass(frozen=True)
class Job:
    """What each process of a training builds."""

    classifier: Classifier
    settings: dict[str, Any]  # of the network
    data: TrainingData
    report: EpochReport
    health: HealthReport
    weights: KeptWeights

    def run(self, training: Training, state: TrainingState) -> None:
        run_trainer(self.classifier, self.data, training, [self.report, self.health, self.weights], state)


def fit(
    training: Training, run: Run, state: TrainingState, checkpoint: Path, on_epoch: EpochHook | None = None
) -> Fitted:
    """Train, resuming from `state`, and write the calibrated weights of the epoch that `kept_epoch` chooses.

    With several processes, this is the first one. Raises TrainingError if the loss is not finite, memory runs out,
    another process ends or their port is in use, and any exception of `on_epoch`. `state` keeps the last finished
    epoch.
    """
    try:
        return _fit(training, run, state, checkpoint, on_epoch)
    except (TrainingError, RuntimeError) as error:
        raise _explain(error, training, state) from error


def join(training: Training, state: TrainingState) -> None:
    """Train as one of the other processes: nothing is reported or written, except this process's own error.

    Raises SystemExit if another process has ended, and after Ctrl-C.
    """
    try:
        _build(training, NullRun(), state, None).run(training, state)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except TrainingError:
        pass  # all processes raise it, and the first reports it; a failure of this one could end the first before that
    except RuntimeError as error:
        if _is_lost_connection(error):
            sys.exit(1)
        raise _explain(error, training, state) from error


def _fit(training: Training, run: Run, state: TrainingState, checkpoint: Path, on_epoch: EpochHook | None) -> Fitted:
    job = _build(training, run, state, on_epoch)
    run.log_datasets(training.meta, "train", "val")
    num_parameters = sum(parameter.numel() for parameter in job.classifier.network.parameters())
    run.log_params(
        asdict(training.hardware) | {"num_parameters": num_parameters, "weights_sha256": training.weights_sha256}
    )
    steps_per_epoch = len(job.data.train) // min(training.config.train.batch_size, len(job.data.train))
    _warn_of_few_steps(training, steps_per_epoch)
    job.run(training, state)
    best = torch.load(state.best, weights_only=True, map_location="cpu")["state_dict"]
    name = training.config.model.name
    network = build_network(name, job.settings)
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in best.items()})
    val_batches = OrderedBatches(job.data.val_batches.split, EVAL_BATCH_SIZE)
    calibration = calibrate(network.to(training.hardware.device), val_batches)
    save_checkpoint(checkpoint, name, job.settings, network.cpu().state_dict())
    kept = job.report.history[kept_epoch(job.weights.values, job.weights.rows)]
    return Fitted(job.report.history, job.health.rows, steps_per_epoch, calibration, kept)


def _build(training: Training, run: Run, state: TrainingState, on_epoch: EpochHook | None) -> Job:
    L.seed_everything(training.seed, verbose=False)
    # Deterministic mode fills new tensors, which costs time; no uninitialised memory is read here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    task, config = training.task, training.config.train
    train, val = (task.load(training.prepared, split) for split in ("train", "val"))
    name, settings = training.config.model.name, network_settings(training, train)
    try:
        network = build_network(name, settings)
    except ValueError as error:
        raise ConfigError(f"{task.name}.model {name}: {error}") from error
    task.fit_input(network, train)
    return Job(
        Classifier(network, config, settings["num_classes"], _class_weights(training, train)),
        settings,
        TrainingData(task, config, training.seed, train, val),
        EpochReport(run, on_epoch),
        HealthReport(network, run, training.health),
        KeptWeights(f"val/{config.monitor}", len(val), state.best),
    )


def _warn_of_few_steps(training: Training, steps_per_epoch: int) -> None:
    train = training.config.train
    steps = steps_per_epoch * train.max_epochs
    if steps < FEW_STEPS:
        section = f"{training.task.name}.train"
        print(
            f"warning: only {steps} training steps; add examples, raise {section}.max_epochs "
            f"({train.max_epochs}) or lower {section}.batch_size ({train.batch_size})",
            file=sys.stderr,
        )


def _class_weights(training: Training, train: PreparedSplit) -> Tensor | None:
    if training.config.train.class_weights == "none":
        return None
    return balanced_class_weights(train.labels, len(training.meta.source.labels))


def _explain(error: Exception, training: Training, state: TrainingState) -> Exception:
    """Return an error with advice, or the error itself if there is none."""
    task = training.task.name
    train = f"{task}.train"
    kept = f"the last finished epoch is kept in {state.folder}" if state.last.exists() else "no epoch was finished"
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        size = training.config.train.batch_size
        return TrainingError(
            f"out of memory; lower {train}.batch_size, which is {size}, or the sizes in {task}.model; {kept}"
        )
    if "EADDRINUSE" in str(error):
        return TrainingError(f"port {os.environ['MASTER_PORT']} is in use; set MASTER_PORT to another; {kept}")
    if _is_lost_connection(error):
        return TrainingError(f"another process of the training has ended; {kept}; run the same command again")
    if isinstance(error, TrainingError):
        rate = training.config.train.learning_rate
        return TrainingError(f"{error}; {kept}; lower {train}.learning_rate, which is {rate}")
    return error


def _is_lost_connection(error: Exception) -> bool:
    """Return whether the error is of gloo or NCCL, after another process has ended; gloo's has no type of its own."""
    return isinstance(error, torch.distributed.DistError) or "/gloo/" in str(error)
