"""What Lightning, checkpoints and MLflow cost: `fit` against a bare loop over the same batches, in turns.

`python -m benchmarks.loop [--rounds 3]`
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.ours import Stopwatch, recipe_params, tracked
from benchmarks.report import spread, write
from relu_pipeline import artifacts
from relu_pipeline.config import TASKS, Task
from relu_pipeline.data.augment import augmented
from relu_pipeline.data.batches import OrderedBatches, ShuffledBatches, load_split
from relu_pipeline.models.catalogue import build_network
from relu_pipeline.tracking.run import Run
from relu_pipeline.training.fit import EVAL_BATCH_SIZE, Training, fit, fit_input, network_settings, plan
from relu_pipeline.training.optimisers import build_optimiser, build_schedule
from relu_pipeline.training.resume import open_state


class CallTimes(Stopwatch):
    """Also how long the training waits for each call that logs metrics."""

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
    rounds = parser.parse_args().rounds
    figures = {task: compare(task, rounds) for task in TASKS}
    print(f"{write('loop', figures)}: {figures}")


def compare(task: Task, rounds: int) -> dict[str, Any]:
    training = plan(task, getattr(recipe_params("quick"), task), 0, artifacts.prepared_dir(task))
    fits, loops, calls = [], [], []
    for _ in range(rounds):
        loops.append(bare_loop_s(training))
        seconds, log_ms = fit_s(training)
        fits.append(seconds)
        calls += log_ms
    ratios = [fit / loop for fit, loop in zip(fits, loops, strict=True)]
    return {"fit_s": spread(fits), "bare_loop_s": spread(loops), "ratio": spread(ratios), "log_call_ms": median(calls)}


def fit_s(training: Training) -> tuple[float, list[float]]:
    with tempfile.TemporaryDirectory() as scratch, tracked(training.task) as run:
        calls = CallTimes(run)
        fit(training, calls, open_state(Path(scratch) / "training", training.key), Path(scratch) / "best.ckpt")
        return time.perf_counter() - calls.started_s, calls.log_ms


def bare_loop_s(training: Training) -> float:
    config, device = training.config.train, training.hardware.device
    train, val = (load_split(training.task, training.prepared, split).to(device) for split in ("train", "val"))
    torch.manual_seed(training.seed)
    network = build_network(training.task, network_settings(training.config, training.meta, training.prepared))
    fit_input(network, train)
    network.to(device)
    batches = ShuffledBatches(augmented(train, config, training.seed), config.batch_size, training.seed)
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
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
