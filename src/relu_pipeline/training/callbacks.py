"""Lightning callbacks: seeding, metrics, model selection, ReLU health, early stopping, loss checks and SIGTERM."""

import math
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import Tensor, nn

from relu_pipeline.config import HealthConfig
from relu_pipeline.data.batches import ShuffledBatches
from relu_pipeline.data.randomness import generator
from relu_pipeline.errors import TrainingError
from relu_pipeline.health.findings import findings
from relu_pipeline.health.gradients import GradientNorms
from relu_pipeline.health.hooks import watching
from relu_pipeline.health.probe import Probe
from relu_pipeline.health.record import Row, epoch_rows, summary
from relu_pipeline.processes import of_all_processes
from relu_pipeline.tracking.run import Run
from relu_pipeline.training.module import Classifier
from relu_pipeline.training.non_finite import first_non_finite_layer

# Reading the loss synchronises with the GPU; on a CPU it costs nothing.
STEPS_BETWEEN_CHECKS = {"cpu": 1, "cuda": 50}
STEPS_BETWEEN_NORMS = 10

# Called with the number and the metrics of each finished epoch; an exception that it raises ends the training.
EpochHook = Callable[[Mapping[str, float]], None]


class EpochSeed(Callback):
    """Reseeds order, augmentation and dropout by seed and epoch, so that a resumed training draws the same numbers.

    Processes draw the same order and augmentation, and different dropout.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        stream = f"torch {trainer.global_rank}" if trainer.global_rank else "torch"
        torch.manual_seed(int(generator(self.seed, stream, trainer.current_epoch).integers(2**63)))
        batches = trainer.train_dataloader
        assert isinstance(batches, ShuffledBatches)  # `TrainingData` gives them
        batches.set_epoch(trainer.current_epoch)


class EpochReport(Callback):
    """Reports the metrics of each epoch to the run, `history` and `on_epoch`, and prints them without progress bar."""

    def __init__(self, run: Run, on_epoch: EpochHook | None) -> None:
        self.run = run
        self.on_epoch = on_epoch
        self.history: list[dict[str, float]] = []
        self.started_s = 0.0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.history and trainer.is_global_zero:
            print(f"resumed after epoch {len(self.history)}", file=sys.stderr, flush=True)

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.started_s = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        metrics = {name: value.item() for name, value in sorted(trainer.callback_metrics.items())}
        metrics["learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        metrics["seconds"] = time.perf_counter() - self.started_s
        self.run.log_metrics(metrics, step=trainer.current_epoch)
        self.history.append({"epoch": trainer.current_epoch} | metrics)
        if trainer.is_global_zero and not trainer.progress_bar_callback:
            print(self._line(trainer, metrics), file=sys.stderr, flush=True)
        if self.on_epoch:
            self.on_epoch(self.history[-1])

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]

    @staticmethod
    def _line(trainer: L.Trainer, metrics: dict[str, float]) -> str:
        values = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {values}"


class KeptWeights(Callback):
    """Saves the weights of the epoch that `kept_epoch` chooses to `path`; `rows`: size of the validation split."""

    def __init__(self, monitor: str, rows: int, path: Path) -> None:
        self.monitor = monitor
        self.rows = rows
        self.path = path
        self.values: list[float] = []

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.values.append(trainer.callback_metrics[self.monitor].item())
        if kept_epoch(self.values, self.rows) == len(self.values) - 1:
            trainer.save_checkpoint(self.path, weights_only=True)

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.values = state_dict["values"]


def kept_epoch(values: Sequence[float], rows: int) -> int:
    """Return the last epoch whose value, from 0 to 1, is within one standard error of the best (Breiman et al. 1984).

    On a small validation split, the best epoch may be so by chance; later ones, at a lower learning rate, generalise
    better.
    """
    best = max(values)
    error = math.sqrt(best * (1 - best) / rows)
    return max(epoch for epoch, value in enumerate(values) if value >= best - error)


class HealthReport(Callback):
    """Records the ReLU health on the validation split and the gradient norms in the run and in `rows`, and warns.

    Gradient norms are measured in every tenth step of an epoch, from the first. Each warning is printed once.
    """

    def __init__(self, network: nn.Module, run: Run, thresholds: HealthConfig) -> None:
        self.network = network
        self.run = run
        self.thresholds = thresholds
        self.rows: list[Row] = []
        self.said: list[str] = []
        self.watch = ExitStack()

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.gradients = GradientNorms(self.network)

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.gradients.clear()
        self.step = 0

    def on_before_optimizer_step(
        self, trainer: L.Trainer, module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if self.step % STEPS_BETWEEN_NORMS == 0:
            self.gradients.add()
        self.step += 1

    def on_validation_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.probe = Probe()
        self.watch.enter_context(watching(self.network, self.probe.see))

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.watch.close()

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        layers, norms = self.probe.health(), self.gradients.means()  # gradients are equal in all processes
        rows = epoch_rows(trainer.current_epoch, layers, norms)
        self.rows += rows
        self.run.log_metrics(summary(rows), step=trainer.current_epoch)
        for key, sentence in findings(layers, norms, self.thresholds):
            if key not in self.said and trainer.is_global_zero:
                print(f"warning: epoch {trainer.current_epoch + 1}: {sentence}", file=sys.stderr, flush=True)
                self.said.append(key)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "said": self.said}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.said = state_dict["rows"], state_dict["said"]


class LastingEarlyStopping(EarlyStopping):
    """Early stopping that also stops a resumed training.

    Lightning restores the number of epochs without improvement, but not that they ended the training (Lightning#8278).
    """

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        trainer.should_stop = self.wait_count >= self.patience


class FiniteLoss(Callback):
    """Raises TrainingError in all processes if a loss is not finite; on a CPU, before the step changes the weights."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def on_before_optimizer_step(
        self, trainer: L.Trainer, module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if trainer.global_step % STEPS_BETWEEN_CHECKS[module.device.type] == 0:
            self._check(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._check(trainer)

    def _check(self, trainer: L.Trainer) -> None:
        loss = trainer.strategy.reduce(self.classifier.loss, reduce_op="mean")
        assert isinstance(loss, Tensor)
        if loss.isfinite():
            return
        with trainer.precision_plugin.forward_context():
            layers = of_all_processes(first_non_finite_layer(self.classifier.network, self.classifier.batch[0]))
        layer = next(filter(None, layers), "none, only the loss")
        raise TrainingError(
            f"the loss is {loss.item()} in epoch {trainer.current_epoch + 1}, step {trainer.global_step}; "
            f"first layer with a non-finite output: {layer}"
        )


class InterruptAtSigterm(Callback):
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does. Lightning's handler would wait for the other processes."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
