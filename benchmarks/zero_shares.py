"""Overhead of the zero fractions, the second output of the graph: ONNX Runtime with and without it, on one thread.

`python -m benchmarks.zero_shares [--rounds 100]` after `dvc repro`
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks.report import spread, write
from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest
from relu_pipeline.config import TASK_NAMES, TaskName, load_params
from relu_pipeline.evaluation.predict import OUTPUT_NAME
from relu_pipeline.export.graph import export_graph
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tasks.catalogue import TASKS
from serving.drift import CONFIDENCE, DriftMonitor
from serving.metrics import add_zero_fractions
from serving.settings import load_settings

BATCH_SIZES = (1, 64)
ROUND_S = 0.03  # of each side
SIDES = ("without", "with")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    figures = {task: measure(task, rounds) for task in TASK_NAMES}
    path = write("zero_shares", figures)
    for task, batches in figures.items():
        for rows, found in batches.items():
            print(f"{task}, {rows} rows: {found['ratio']}, {found['service_us_per_row']}")
    print(path)


def measure(task: TaskName, rounds: int) -> dict[str, Any]:
    val = TASKS[task].load(artifacts.prepared_dir(task), "val")
    manifest = artifacts.read(artifacts.models_dir(task) / artifacts.MANIFEST, Manifest)
    with tempfile.TemporaryDirectory() as scratch:
        sides = sessions(task, val.gather(torch.arange(2)), Path(scratch))
    batches = {rows: val.gather(torch.arange(rows)).numpy() for rows in BATCH_SIZES}
    return {
        str(rows): compare(sides, inputs, rounds) | {"service_us_per_row": service_us(sides["with"], inputs, manifest)}
        for rows, inputs in batches.items()
    }


def sessions(task: TaskName, example: torch.Tensor, folder: Path) -> dict[str, onnxruntime.InferenceSession]:
    """Return sessions of the graph of the checkpoint, not pruned, with and without the second output."""
    path = folder / "model.onnx"
    network = load_network(artifacts.checkpoints_dir(task) / artifacts.CHECKPOINT)
    export_graph(TASKS[task], network, example, load_params().export.opset, path)
    whole = onnx.load(path)
    part = onnx.utils.Extractor(whole).extract_model([whole.graph.input[0].name], [OUTPUT_NAME])
    return {"without": session(part), "with": session(whole)}


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session with the settings of the service."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def compare(sides: dict[str, onnxruntime.InferenceSession], inputs: NDArray[Any], rounds: int) -> dict[str, Any]:
    """Return the microseconds of one run by side, and the ratio by round; each round reverses the order."""
    repeats = max(1, round(ROUND_S * 1e6 / median(run_us(sides["without"], inputs, 1) for _ in range(10))))
    found: dict[str, list[float]] = {name: [] for name in SIDES}
    for number in range(rounds):
        for name in SIDES[:: 1 if number % 2 else -1]:
            found[name].append(run_us(sides[name], inputs, repeats))
    ratios = np.divide(found["with"], found["without"])
    quartiles = np.quantile(ratios, (0.25, 0.5, 0.75))
    return {f"{name}_us": spread(values) for name, values in found.items()} | {
        "ratio": dict(zip(("lower_quartile", "median", "upper_quartile"), quartiles.tolist(), strict=True))
    }


def run_us(session: onnxruntime.InferenceSession, inputs: NDArray[Any], repeats: int) -> float:
    name = session.get_inputs()[0].name
    started = time.perf_counter()
    for _ in range(repeats):
        session.run(None, {name: inputs})
    return (time.perf_counter() - started) / repeats * 1e6


def service_us(session: onnxruntime.InferenceSession, inputs: NDArray[Any], manifest: Manifest) -> dict[str, float]:
    """Return the microseconds per example that the service needs for drift detection and metrics."""
    probabilities, shares = session.run(["probabilities", "zero_shares"], {session.get_inputs()[0].name: inputs})
    layers = list(manifest.relu_baseline)
    columns = manifest.relu_baseline | {CONFIDENCE: manifest.confidence_baseline}
    baseline = {signal: found.model_dump() for signal, found in columns.items()}
    monitor = DriftMonitor(baseline, **load_settings().drift.model_dump())
    adding, observing = [], []
    for _ in range(1000):
        started = time.perf_counter()
        drift = monitor.add(np.column_stack((shares, probabilities.max(axis=1))))
        added = time.perf_counter()
        sums = dict(zip(layers, shares.sum(axis=0, dtype=float).tolist(), strict=True))
        add_zero_fractions(manifest.task, sums, len(shares), drift)
        adding.append(added - started)
        observing.append(time.perf_counter() - added)
    return {name: median(times) / len(shares) * 1e6 for name, times in (("monitor", adding), ("metrics", observing))}


if __name__ == "__main__":
    main()
