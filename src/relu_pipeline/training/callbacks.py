"""What happens between the epochs."""

import sys
import time

import lightning as L
from lightning.pytorch.callbacks import Callback

from relu_pipeline.data.batches import ShuffledBatches
from relu_pipeline.tracking import Run


class EpochOrder(Callback):
    """Tells the loader its epoch, from which order and augmentation follow."""

    def __init__(self, batches: ShuffledBatches) -> None:
        self.batches = batches

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.batches.set_epoch(trainer.current_epoch)


class EpochReport(Callback):
    """Each epoch's metrics to the run, to `history` and, where there is no progress bar, to a line of output."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.history: list[dict[str, float]] = []
        self.started_s = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.started_s = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        metrics = {name: value.item() for name, value in sorted(trainer.callback_metrics.items())}
        metrics["learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        metrics["seconds"] = time.perf_counter() - self.started_s
        self.run.log_metrics(metrics, step=trainer.current_epoch)
        self.history.append({"epoch": trainer.current_epoch} | metrics)
        if not trainer.progress_bar_callback:
            print(self._line(trainer, metrics), file=sys.stderr, flush=True)

    @staticmethod
    def _line(trainer: L.Trainer, metrics: dict[str, float]) -> str:
        values = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {values}"
