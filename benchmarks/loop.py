"""Overhead of Lightning, checkpoints, MLflow and health monitoring.

`fit` is measured alternately with a bare loop over the same batches, and with `fit` without health monitoring.

`python -m benchmarks.loop [--rounds 3]`
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.ours import Stopwatch, recipe_params, tracked
from benchmarks.report import run_side, spread, write
from relu_pipeline import artifacts
from relu_pipeline.config import TASK_NAMES, TaskName
from relu_pipeline.data.batches import OrderedBatches, ShuffledBatches
from relu_pipeline.models.catalogue import build_network
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import Run
from relu_pipeline.training import fit as fitting
from relu_pipeline.training.callbacks import HealthReport
from relu_pipeline.training.data import EVAL_BATCH_SIZE
from relu_pipeline.training.fit import fit
from relu_pipeline.training.optimisers import build_optimiser, build_schedule
from relu_pipeline.training.plan import Training, network_settings, plan
from relu_pipeline.training.resume import open_state


class CallTimes(Stopwatch):
    """Stopwatch that also measures the duration of each call that logs metrics."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.log_ms: list[float] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        started = time.perf_counter()
        super().log_metrics(metrics, step)
        self.log_ms.append(1000 * (time.perf_counter() - started))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", nargs=2, metavar=("NAME", "TASK"), help="run only this side and print its results")
    arguments = parser.parse_args()
    if arguments.side:
        name, task = arguments.side
        params = recipe_params("quick")
        training = plan(TASKS[task], getattr(params, task), params.health, 0, artifacts.prepared_dir(task))
        print(json.dumps(SIDES[name](training)))
        return
    figures = {task: compare(task, arguments.rounds) for task in TASK_NAMES}
    print(f"{write('loop', figures)}: {figures}")


def compare(task: TaskName, rounds: int) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in SIDES}
    for number in range(rounds):
        # Each round reverses the order of the sides.
        for name in sorted(SIDES, reverse=number % 2 == 1):
            runs[name].append(run_side(["-m", "benchmarks.loop", "--side", name, task]))
    seconds = {name: [run["seconds"] for run in of_side] for name, of_side in runs.items()}
    return {name: spread(values) for name, values in seconds.items()} | {
        "ratio": ratio(seconds["fit"], seconds["bare"]),
        "health_ratio": ratio(seconds["fit"], seconds["unwatched"]),
        "log_call_ms": median(run["log_call_ms"] for run in runs["fit"]),
    }


def ratio(above: list[float], below: list[float]) -> dict[str, Any]:
    return spread([one / other for one, other in zip(above, below, strict=True)])


class Unwatched(HealthReport):
    """Health report that does nothing."""

    def on_before_optimizer_step(self, *_: Any) -> None:
        pass

    def on_validation_epoch_start(self, *_: Any) -> None:
        pass

    def on_train_epoch_end(self, *_: Any) -> None:
        pass


def unwatched_side(training: Training) -> dict[str, float]:
    fitting.HealthReport = Unwatched
    return fit_side(training)


def fit_side(training: Training) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch, tracked(training.task) as run:
        calls = CallTimes(run)
        fit(training, calls, open_state(Path(scratch) / "training", training.key), Path(scratch) / "best.ckpt")
        return {"seconds": time.perf_counter() - calls.started_s, "log_call_ms": median(calls.log_ms)}


def bare_side(training: Training) -> dict[str, float]:
    config, device = training.config.train, training.hardware.device
    train, val = (training.task.load(training.prepared, split).to(device) for split in ("train", "val"))
    torch.manual_seed(training.seed)
    network = build_network(training.config.model.name, network_settings(training, train))
    training.task.fit_input(network, train)
    network.to(device)
    batches = ShuffledBatches(training.task.augment(train, config, training.seed), config.batch_size, training.seed)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=training.hardware.precision == "bf16-mixed")
    started = time.perf_counter()
    optimiser = build_optimiser(network, config)
    schedule = build_schedule(optimiser, config, config.max_epochs * len(batches))
    for epoch in range(config.max_epochs):
        batches.set_epoch(epoch)
        network.train()
        for inputs, labels in batches:
            with autocast:
                logits = network(inputs)
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=config.label_smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        network.eval()
        with torch.no_grad(), autocast:
            right = [network(inputs).argmax(1) == labels for inputs, labels in OrderedBatches(val, EVAL_BATCH_SIZE)]
        torch.cat(right).float().mean().item()
    return {"seconds": time.perf_counter() - started}


SIDES = {"bare": bare_side, "fit": fit_side, "unwatched": unwatched_side}

if __name__ == "__main__":
    main()
