"""A training in one call."""

from pathlib import Path

from relu_pipeline.config import ImageConfig, TaskName, TextConfig, load_params
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import NullRun, Run
from relu_pipeline.training.callbacks import EpochHook
from relu_pipeline.training.fit import Fitted, fit
from relu_pipeline.training.plan import plan
from relu_pipeline.training.resume import open_state

PARAMS = Path(__file__).resolve().parent.parent / "params.yaml"


def train_at_once(
    task: TaskName,
    config: ImageConfig | TextConfig,
    prepared: Path,
    out: Path,
    run: Run | None = None,
    seed: int = 0,
    on_epoch: EpochHook | None = None,
) -> Fitted:
    """Write `out`/best.ckpt; what a training left in `out`/training goes on."""
    training = plan(TASKS[task], config, load_params(PARAMS).health, seed, prepared)
    state = open_state(out / "training", training.key)
    state.begin("a run")
    return fit(training, run or NullRun(), state, out / "best.ckpt", on_epoch)
