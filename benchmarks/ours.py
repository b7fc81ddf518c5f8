"""The training of `dvc repro`, timed. `python -m benchmarks.ours {image,text} {default,quick,gpu} SEED`"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import torch

from relu_pipeline import artifacts
from relu_pipeline.config import PARAMS, Params, TaskName, load_params
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.evaluation.predict import predict
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.recipes import apply_recipe, recipe_path
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import NullRun, Run
from relu_pipeline.training.fit import fit
from relu_pipeline.training.plan import plan
from relu_pipeline.training.resume import open_state


class Stopwatch(NullRun):
    """Run that forwards all calls, and measures the time since the parameters were logged, before the first epoch."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.started_s = 0.0
        self.curve: list[dict[str, float]] = []

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.run.log_params(params)
        self.started_s = time.perf_counter()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.run.log_metrics(metrics, step)
        if "val/accuracy" in metrics:
            seconds = time.perf_counter() - self.started_s
            self.curve.append({"seconds": seconds, "val_accuracy": metrics["val/accuracy"]})


def main(task: TaskName, recipe: str, seed: int) -> None:
    print(json.dumps(train_once(task, recipe_params(recipe), seed)))


def train_once(task: TaskName, params: Params, seed: int) -> dict[str, Any]:
    """Return times, learning curve and test accuracy of a training on the prepared data."""
    config, prepared = getattr(params, task), artifacts.prepared_dir(task)
    begun_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch, tracked(task) as run:
        out = Path(scratch)
        training = plan(TASKS[task], config, params.health, seed, prepared)
        stopwatch = Stopwatch(run)
        fit(training, stopwatch, open_state(out / "training", training.key), out / "best.ckpt")
        ended_s = time.perf_counter()
        network = load_network(out / "best.ckpt").to(training.hardware.device)
    test = TASKS[task].load(prepared, "test").to(training.hardware.device)
    figures = {
        "seed": seed,
        "load_s": stopwatch.started_s - begun_s,
        "train_s": ended_s - stopwatch.started_s,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "curve": stopwatch.curve,
        "test_accuracy": accuracy(predict(network, test), test.labels),
    }
    if isinstance(test, ImageSplit):
        mirrored = ImageSplit(test.images_BHWC.flip(2), test.labels)
        both = predict(network, test) + predict(network, mirrored)
        figures["test_accuracy_with_flipping"] = accuracy(both, test.labels)
    return figures


def recipe_params(recipe: str) -> Params:
    if recipe == "default":
        return load_params()
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / PARAMS
        copyfile(PARAMS, copy)
        apply_recipe(recipe_path(recipe), copy)
        return load_params(copy)


def tracked(task: TaskName) -> AbstractContextManager[Run]:
    """Return an MLflow run, or a no-op run if MLflow is not installed."""
    if find_spec("mlflow") is None:
        return nullcontext(NullRun())
    from relu_pipeline.tracking.mlflow_run import start_run

    return start_run(task, "benchmark", "benchmark")


def accuracy(probabilities: np.ndarray, labels: torch.Tensor) -> float:
    return float((probabilities.argmax(axis=1) == labels.cpu().numpy()).mean())


if __name__ == "__main__":
    main(*sys.argv[1:3], int(sys.argv[3]))  # type: ignore[arg-type]
