"""The LightningModule of both tasks."""

from typing import Any

import lightning as L
import torch.nn.functional as F
from torch import Tensor, nn

from relu_pipeline.config import TrainConfig
from relu_pipeline.training.optimisers import build_optimiser, build_schedule

Batch = tuple[Tensor, Tensor]


class Classifier(L.LightningModule):
    """Cross-entropy on the logits of `network`. Sums stay on the device; metrics are logged once an epoch."""

    batch: Batch
    loss: Tensor

    def __init__(self, network: nn.Module, config: TrainConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.sums: dict[str, Tensor] = {}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, labels = self.batch = batch
        logits = self.network(inputs).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        self.loss = loss.detach()
        self._add("train/loss", self.loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        inputs, labels = batch
        logits = self.network(inputs).float()
        self._add("val/loss", F.cross_entropy(logits, labels, reduction="sum"))
        self._add("val/accuracy", (logits.argmax(dim=1) == labels).sum())

    def on_validation_epoch_end(self) -> None:
        # Not in on_train_epoch_end: the callbacks, which read the metrics, have theirs before the module's.
        self._log_means("train/", self.trainer.num_training_batches)
        self._log_means("val/", len(self.trainer.val_dataloaders.split))

    def _add(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums[name] + value if name in self.sums else value

    def _log_means(self, prefix: str, count: int) -> None:
        for name in [name for name in self.sums if name.startswith(prefix)]:
            self.log(name, self.sums.pop(name) / count)

    def configure_optimizers(self) -> Any:
        optimiser = build_optimiser(self.network, self.config)
        schedule = build_schedule(optimiser, self.config, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
