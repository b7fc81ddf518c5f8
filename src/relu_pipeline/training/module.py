"""The LightningModule of both tasks."""

from typing import Any

import lightning as L
import torch.nn.functional as F
from torch import Tensor, nn

from relu_pipeline.config import TrainConfig
from relu_pipeline.training.optimisers import build_optimiser, build_schedule


class Classifier(L.LightningModule):
    """Cross-entropy on the logits of `network`; metrics are logged once an epoch."""

    def __init__(self, network: nn.Module, config: TrainConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        inputs, labels = batch
        logits = self.network(inputs)
        # An ensemble gives [M, B, C] in training, and each member learns alone.
        targets = labels.expand(logits.shape[:-1]).flatten()
        loss = F.cross_entropy(logits.flatten(0, -2), targets, label_smoothing=self.config.label_smoothing)
        # Not on_step: that would wait for the GPU at each step.
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        inputs, labels = batch
        logits = self.network(inputs)
        correct = (logits.argmax(dim=1) == labels).float().mean()
        self.log("val/loss", F.cross_entropy(logits, labels), batch_size=len(labels))
        self.log("val/accuracy", correct, batch_size=len(labels))

    def configure_optimizers(self) -> Any:
        optimiser = build_optimiser(self.network, self.config)
        schedule = build_schedule(optimiser, self.config, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
