"""Train one network: data and config in, best checkpoint and history out."""

import csv
import logging
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from tokenizers import Tokenizer
from torch import Tensor, nn

from relu_pipeline import artifacts
from relu_pipeline.artifacts import PreparedMeta
from relu_pipeline.config import ImageConfig, Task, TextConfig, TrainConfig
from relu_pipeline.data.augment import build_augment
from relu_pipeline.data.batches import OrderedBatches, ShuffledBatches, load_split
from relu_pipeline.errors import ConfigError
from relu_pipeline.models.catalogue import build_network
from relu_pipeline.models.checkpoint import save_checkpoint
from relu_pipeline.models.image_cnn import ImageCNN
from relu_pipeline.tracking import Run
from relu_pipeline.training.callbacks import EpochOrder, EpochReport
from relu_pipeline.training.module import Classifier

WHITENING_IMAGES = 5000
EVAL_BATCH_SIZE = 1000


@dataclass(frozen=True)
class Hardware:
    accelerator: str
    precision: str


@dataclass(frozen=True)
class Fitted:
    val_accuracy: float
    history: list[dict[str, float]]


def fit(task: Task, config: ImageConfig | TextConfig, seed: int, prepared: Path, run: Run, checkpoint: Path) -> Fitted:
    """Write the weights of the epoch with the best validation accuracy to `checkpoint`. Raises ConfigError."""
    _quieten_lightning()
    hardware = resolve_hardware(task, config.train)
    L.seed_everything(seed, verbose=False)
    meta = artifacts.read(prepared / "meta.json", PreparedMeta)
    device = torch.device("cuda" if hardware.accelerator == "gpu" else "cpu")
    train, val = (load_split(task, prepared, split).to(device) for split in ("train", "val"))
    settings = network_settings(config, meta, prepared)
    network = build_network(task, settings)
    if isinstance(network, ImageCNN):
        network.fit_input(train.gather(torch.arange(min(WHITENING_IMAGES, len(train)), device=device)).cpu())
    run.log_datasets(meta)
    run.log_params(asdict(hardware) | {"num_parameters": sum(p.numel() for p in network.parameters())})
    batches = ShuffledBatches(train, config.train.batch_size, seed, build_augment(config.train))
    weights, fitted = _run_trainer(network, config.train, hardware, batches, OrderedBatches(val, EVAL_BATCH_SIZE), run)
    save_checkpoint(checkpoint, task, settings, weights)
    return fitted


def _run_trainer(
    network: nn.Module, config: TrainConfig, hardware: Hardware, train: ShuffledBatches, val: OrderedBatches, run: Run
) -> tuple[dict[str, Tensor], Fitted]:
    report = EpochReport(run)
    with tempfile.TemporaryDirectory() as scratch:
        best = ModelCheckpoint(scratch, "best", monitor="val/accuracy", mode="max", save_weights_only=True)
        trainer = L.Trainer(
            accelerator=hardware.accelerator,
            devices=1,
            precision=hardware.precision,
            max_epochs=config.max_epochs,
            deterministic=True,
            logger=False,
            callbacks=[best, EpochOrder(train), report],
            default_root_dir=scratch,
            num_sanity_val_steps=0,
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
        )
        trainer.fit(Classifier(network, config), train, val)
        state = torch.load(best.best_model_path, weights_only=True, map_location="cpu")["state_dict"]
    weights = {name.removeprefix("network."): tensor for name, tensor in state.items()}
    return weights, Fitted(float(best.best_model_score), report.history)


def resolve_hardware(task: Task, config: TrainConfig) -> Hardware:
    """What `auto` means on this machine. Raises ConfigError for a GPU that is not there."""
    gpu = torch.cuda.is_available()
    if config.accelerator == "gpu" and not gpu:
        raise ConfigError(f"params.yaml: {task}.train.accelerator is gpu, but torch finds no GPU; use auto or cpu")
    accelerator = config.accelerator
    if accelerator == "auto":
        accelerator = "gpu" if gpu else "cpu"
    precision = config.precision
    if precision == "auto":
        precision = "16-mixed" if accelerator == "gpu" else "32-true"
    if precision == "16-mixed" and accelerator == "cpu":
        raise ConfigError(f"params.yaml: {task}.train.precision 16-mixed needs a GPU; use auto, 32-true or bf16-mixed")
    return Hardware(accelerator, precision)


def network_settings(config: ImageConfig | TextConfig, meta: PreparedMeta, prepared: Path) -> dict[str, Any]:
    """The network's constructor arguments: the model section and what the data say."""
    settings = config.model.model_dump() | {"num_classes": len(meta.source.labels)}
    if meta.task == "text":
        settings["vocab_size"] = Tokenizer.from_file(str(prepared / artifacts.TOKENIZER)).get_vocab_size()
    return settings


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """One CSV row an epoch, for `dvc plots`."""
    with artifacts.atomic_file(path) as partial, partial.open("w", newline="") as file:
        rows = csv.DictWriter(file, fieldnames=list(history[0]), lineterminator="\n")
        rows.writeheader()
        rows.writerows(history)


def _quieten_lightning() -> None:
    """Its advice is about DataLoader workers and hardware, neither of which is left to it here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Lightning's own use of a torch interface that is going away.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
