"""The LightningModule of all tasks, and its loss."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relu_pipeline.config import TrainConfig
from relu_pipeline.data.batches import OrderedBatches
from relu_pipeline.processes import of_all_processes
from relu_pipeline.scores import classification_scores
from relu_pipeline.training.optimisers import build_optimiser, build_schedule

Batch = tuple[Tensor, Tensor]


class Classifier(L.LightningModule):
    """Classifier that minimises the cross-entropy of the logits of `network`, weighted by class.

    `class_weights` is `[num_classes]`, or None for equal weights. Losses and predictions are collected on the device
    and logged once per epoch, over all processes, so that no step waits for a metric.
    """

    batch: Batch
    loss: Tensor
    class_weights: Tensor | None

    def __init__(
        self, network: nn.Module, config: TrainConfig, num_classes: int, class_weights: Tensor | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.num_classes = num_classes
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.losses: dict[str, Tensor] = {}
        self.predictions: list[Tensor] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, labels = self.batch = batch
        logits = self.network(inputs).float()
        loss = cross_entropy(logits, labels, self.class_weights, self.config.label_smoothing, self._over_processes)
        self.loss = loss.detach()
        self._add("train/loss", self.loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        inputs, labels = batch
        logits = self.network(inputs).float()
        self._add("val/loss", F.cross_entropy(logits, labels, reduction="sum"))
        self.predictions.append(logits.argmax(dim=1))

    def on_validation_epoch_end(self) -> None:
        # Not in on_train_epoch_end: there, the callbacks that read the metrics run before the module.
        val = self.trainer.val_dataloaders
        assert isinstance(val, OrderedBatches)  # `fit` passes them
        labels = val.split.labels
        predictions = torch.empty_like(labels)
        for rank, share in enumerate(of_all_processes(torch.cat(self.predictions).cpu())):
            predictions[rank :: val.world_size] = share
        train_loss = self._over_processes(self.losses.pop("train/loss"))
        self.log("train/loss", train_loss / self.trainer.num_training_batches)
        self.log("val/loss", sum(of_all_processes(self.losses.pop("val/loss").item())) / len(labels))
        for name, value in classification_scores(predictions, labels, self.num_classes).items():
            self.log(f"val/{name}", value, prog_bar=name == self.config.monitor)
        self.predictions.clear()

    def _over_processes(self, value: Tensor) -> Tensor:
        """Return the mean over the processes."""
        mean = self.trainer.strategy.reduce(value, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean

    def _add(self, name: str, value: Tensor) -> None:
        self.losses[name] = self.losses[name] + value if name in self.losses else value

    def configure_optimizers(self) -> Any:
        optimiser = build_optimiser(self.network, self.config)
        schedule = build_schedule(optimiser, self.config, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    class_weights: Tensor | None,
    label_smoothing: float,
    over_processes: Callable[[Tensor], Tensor] = lambda value: value,
) -> Tensor:
    """Return the mean cross-entropy over the examples, weighted by `class_weights[labels]`.

    Without label smoothing, this equals `F.cross_entropy(weight=...)`. With it, PyTorch weights the smoothed part of
    each example's loss by the weights of all classes, which biases predictions towards rare classes. `over_processes`
    returns the mean over the processes that share the batch; the mean of their results is then that of the whole batch.
    """
    if class_weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    loss_B = F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
    weight_B = class_weights[labels]
    return (loss_B * weight_B).sum() / over_processes(weight_B.sum())


def balanced_class_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Return N / (C * count) for each of the C classes that occur in `labels` int64 `[N]`, and 0 for the others.

    Their mean over the examples is 1, as in scikit-learn's `compute_class_weight("balanced")`.
    """
    counts = torch.bincount(labels, minlength=num_classes)
    weights = len(labels) / (counts.count_nonzero() * counts)
    return torch.where(counts > 0, weights, 0.0)
