"""Training of one network, from the configuration and the prepared data to the best checkpoint and its history."""

import logging
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from relu_pipeline import artifacts
from relu_pipeline.artifacts import PreparedMeta
from relu_pipeline.config import HealthConfig, ImageConfig, TextConfig, TrainConfig
from relu_pipeline.data.batches import OrderedBatches, PreparedSplit, ShuffledBatches
from relu_pipeline.errors import ConfigError, TrainingError
from relu_pipeline.health.record import Row
from relu_pipeline.models.catalogue import build_network
from relu_pipeline.models.checkpoint import save_checkpoint
from relu_pipeline.task import Task
from relu_pipeline.tracking.run import Run
from relu_pipeline.training.calibration import Calibration, calibrate
from relu_pipeline.training.callbacks import (
    EpochHook,
    EpochReport,
    EpochSeed,
    FiniteLoss,
    HealthReport,
    KeptWeights,
    LastingEarlyStopping,
    kept_epoch,
)
from relu_pipeline.training.hardware import Hardware, resolve_hardware
from relu_pipeline.training.module import Classifier, balanced_class_weights
from relu_pipeline.training.resume import TrainingState, training_key

EVAL_BATCH_SIZE = 1000
FEW_STEPS = 100


@dataclass(frozen=True)
class Fitted:
    """Result of a training."""

    history: list[dict[str, float]]
    health: list[Row]
    steps_per_epoch: int
    calibration: Calibration
    kept: dict[str, float]  # entry of `history` of the epoch whose weights are kept


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


def plan(
    task: Task[Any], config: ImageConfig | TextConfig, health: HealthConfig, seed: int, prepared: Path
) -> Training:
    """Return the training job, with a value in place of each `auto`.

    Raises ConfigError if a GPU or a file of weights is missing, ArtifactError if the prepared data are missing.
    """
    meta = artifacts.read(prepared / artifacts.META, PreparedMeta)
    config = task.settle(config, task.load(prepared, "train"), len(meta.source.labels))
    hardware = resolve_hardware(task.name, config.train)
    weights = config.model.weights_file
    if weights and not weights.is_file():
        raise ConfigError(f"{weights}: no such file; {task.name}.model in params.yaml names it as initial weights")
    weights_sha256 = artifacts.sha256_of(weights) if weights else None
    return Training(task, config, health, seed, prepared, meta, hardware, weights_sha256)


def fit(
    training: Training, run: Run, state: TrainingState, checkpoint: Path, on_epoch: EpochHook | None = None
) -> Fitted:
    """Train, resuming from `state`, and write the calibrated weights of the epoch that `kept_epoch` chooses.

    Raises TrainingError if the loss is not finite or memory runs out, and any exception of `on_epoch`. `state` keeps
    the last finished epoch.
    """
    _quieten_lightning()
    try:
        return _fit(training, run, state, checkpoint, on_epoch)
    except (TrainingError, RuntimeError) as error:
        raise _explain(error, training, state) from error


def _fit(training: Training, run: Run, state: TrainingState, checkpoint: Path, on_epoch: EpochHook | None) -> Fitted:
    L.seed_everything(training.seed, verbose=False)
    # Deterministic mode fills new tensors, which costs time; no uninitialised memory is read here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    task = training.task
    train, val = (task.load(training.prepared, split).to(training.hardware.device) for split in ("train", "val"))
    name, settings = training.config.model.name, network_settings(training, train)
    try:
        network = build_network(name, settings)
    except ValueError as error:
        raise ConfigError(f"{task.name}.model {name}: {error}") from error
    task.fit_input(network, train)
    run.log_datasets(training.meta, "train", "val")
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    run.log_params(
        asdict(training.hardware) | {"num_parameters": num_parameters, "weights_sha256": training.weights_sha256}
    )
    val_batches = OrderedBatches(val, EVAL_BATCH_SIZE)
    rows = task.augment(train, training.config.train, training.seed)
    batches = ShuffledBatches(rows, training.config.train.batch_size, training.seed)
    _warn_of_few_steps(training, len(batches))
    report, health = EpochReport(run, on_epoch), HealthReport(network, run, training.health)
    classifier = Classifier(network, training.config.train, settings["num_classes"], _class_weights(training, train))
    weights = KeptWeights(f"val/{training.config.train.monitor}", len(val), state.best)
    _run_trainer(classifier, training, batches, val_batches, [report, health, weights], state)
    best = torch.load(state.best, weights_only=True, map_location="cpu")["state_dict"]
    network = build_network(name, settings)
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in best.items()})
    calibration = calibrate(network.to(training.hardware.device), val_batches)
    save_checkpoint(checkpoint, name, settings, network.cpu().state_dict())
    kept = report.history[kept_epoch(weights.values, weights.rows)]
    return Fitted(report.history, health.rows, len(batches), calibration, kept)


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


def _run_trainer(
    classifier: Classifier,
    training: Training,
    batches: ShuffledBatches,
    val: OrderedBatches,
    reports: list[Callback],
    state: TrainingState,
) -> None:
    config = training.config.train
    trainer = L.Trainer(
        accelerator=training.hardware.accelerator,
        devices=1,
        precision=training.hardware.precision,
        max_epochs=config.max_epochs,
        # Some GPU kernels of PyTorch, such as the backward pass of max pooling, have no deterministic implementation.
        deterministic=True if training.hardware.accelerator == "cpu" else "warn",
        logger=False,
        callbacks=[
            EpochSeed(batches, training.seed),
            FiniteLoss(classifier),
            *reports,
            *_stopping(config),
            # Lightning runs it last, so that it saves the state of the other callbacks, too.
            ModelCheckpoint(state.folder, state.last.stem, save_on_train_epoch_end=True, enable_version_counter=False),
        ],
        default_root_dir=state.folder,
        num_sanity_val_steps=0,
        enable_progress_bar=sys.stdout.isatty(),  # Lightning writes it to stdout
        enable_model_summary=False,
    )
    if config.compile:
        classifier.network.compile()
    resumed = state.last if state.last.exists() else None
    try:
        trainer.fit(classifier, batches, val, ckpt_path=resumed, weights_only=True)
    except SystemExit as error:  # Lightning turns Ctrl-C into it (Lightning#11924)
        raise (KeyboardInterrupt if trainer.interrupted else error) from None


def _stopping(config: TrainConfig) -> list[Callback]:
    if not config.early_stopping_patience:
        return []
    return [LastingEarlyStopping(f"val/{config.monitor}", mode="max", patience=config.early_stopping_patience)]


def _explain(error: Exception, training: Training, state: TrainingState) -> Exception:
    """Return an error with advice, or the error itself if there is none."""
    task = training.task.name
    train, kept = f"{task}.train", f"the last finished epoch is kept in {state.folder}"
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        size = training.config.train.batch_size
        return TrainingError(
            f"out of memory; lower {train}.batch_size, which is {size}, or the sizes in {task}.model; {kept}"
        )
    if isinstance(error, TrainingError):
        rate = training.config.train.learning_rate
        return TrainingError(f"{error}; {kept}; lower {train}.learning_rate, which is {rate}")
    return error


def network_settings(training: Training, train: PreparedSplit) -> dict[str, Any]:
    """Return the network's constructor arguments, from the model section and from the data."""
    of_data = training.task.network_settings(train, training.prepared)
    return training.config.model.settings | of_data | {"num_classes": len(training.meta.source.labels)}


def _quieten_lightning() -> None:
    """Suppress Lightning's advice about DataLoader workers and hardware, which does not apply here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Lightning itself uses this deprecated interface of torch.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # A frozen network is in evaluation mode on purpose.
    warnings.filterwarnings("ignore", message="Found .* in eval mode at the start of training")
    # The folder contains this training's mark and, if it is resumed, its checkpoints.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
