"""Lightning's Trainer, as this project sets it up."""

import logging
import sys
import warnings

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.distributed import is_torchelastic_launched

from relu_pipeline.config import TrainConfig
from relu_pipeline.training.callbacks import EpochSeed, FiniteLoss, InterruptAtSigterm, LastingEarlyStopping
from relu_pipeline.training.data import TrainingData
from relu_pipeline.training.module import Classifier
from relu_pipeline.training.plan import Training
from relu_pipeline.training.resume import TrainingState


def run_trainer(
    classifier: Classifier, data: TrainingData, training: Training, reports: list[Callback], state: TrainingState
) -> None:
    """Train the classifier, from the last finished epoch in `state` on.

    Raises TrainingError if the loss is not finite, and any exception of `reports`.
    """
    _quieten_lightning()
    config, hardware = training.config.train, training.hardware
    trainer = L.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.num_nodes,
        strategy=config.strategy,
        plugins=[TorchElasticEnvironment() if is_torchelastic_launched() else LightningEnvironment()],  # not SLURM's
        # PyTorch has no synchronised batch norm for the CPU, and would drop the activations in batch norms of timm:
        # there, each process normalises its share of a batch.
        sync_batchnorm=hardware.accelerator == "gpu"
        and hardware.processes > 1
        and training.config.model.name != "timm",
        precision=hardware.precision,
        max_epochs=config.max_epochs,
        # Some GPU kernels of PyTorch, such as the backward pass of `embedding_bag`, are not deterministic.
        deterministic=True if hardware.accelerator == "cpu" else "warn",
        logger=False,
        callbacks=[
            EpochSeed(training.seed),
            FiniteLoss(classifier),
            *([InterruptAtSigterm()] if hardware.processes > 1 else []),
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
        trainer.fit(classifier, datamodule=data, ckpt_path=resumed, weights_only=True)
    except SystemExit as error:  # Lightning turns Ctrl-C into it (Lightning#11924)
        raise (KeyboardInterrupt if trainer.interrupted else error) from None


def _stopping(config: TrainConfig) -> list[Callback]:
    if not config.early_stopping_patience:
        return []
    return [LastingEarlyStopping(f"val/{config.monitor}", mode="max", patience=config.early_stopping_patience)]


def _quieten_lightning() -> None:
    """Suppress Lightning's advice about DataLoader workers and hardware, which does not apply here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Lightning itself uses this deprecated interface of torch.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # `Classifier` has computed these values over all processes.
    warnings.filterwarnings("ignore", message="It is recommended to use .*sync_dist=True")
    # A frozen network is in evaluation mode on purpose.
    warnings.filterwarnings("ignore", message="Found .* in eval mode at the start of training")
    # The folder contains this training's mark and, if it is resumed, its checkpoints.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
