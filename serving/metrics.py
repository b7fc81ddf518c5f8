"""Prometheus metrics. BentoML's own are off: they keep a series for each path that was ever asked for.

prometheus_client takes the folder that several processes share from the environment, which BentoML sets before a worker
imports this module; `/metrics` of any worker then shows them all.
"""

import os
from contextlib import suppress
from pathlib import Path

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from serving.drift import Drift
from serving.schemas import ModelVersion

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64)

REQUESTS = Counter("relu_requests", "Requests answered, whatever the status", ["endpoint", "status"])
REJECTED_REQUESTS = Counter("relu_rejected_requests", "Requests rejected, by the code of the error", ["reason"])
REQUEST_DURATION = Histogram(
    "relu_request_duration_seconds", "Time from the headers to the answer", ["endpoint"], buckets=SECONDS
)
REQUESTS_IN_FLIGHT = Gauge(
    "relu_requests_in_flight", "POST requests that are being answered", multiprocess_mode="livesum"
)
QUEUE_DEPTH = Gauge("relu_queue_depth", "Requests that wait for the model", ["task"], multiprocess_mode="livesum")
BATCH_SIZE = Histogram("relu_batch_size", "Examples in one run of the model", ["task"], buckets=SIZES)
MODEL = Gauge(
    "relu_model_info",
    "1 for a model that is served, 0 once it is not",
    ["task", "name", "version", "sha256", "precision"],
    multiprocess_mode="livemax",
)
RELOADS = Counter("relu_reloads", "New model files, by task and result", ["task", "result"])
# A sum and a count, for a mean: prometheus_client's Summary takes one observation at a time, which is slower.
ZERO_FRACTION = Counter("relu_zero_fraction", "Sum of the zero fractions of a ReLU layer", ["task", "layer"])
ZERO_FRACTION_EXAMPLES = Counter(
    "relu_zero_fraction_examples", "Examples in relu_zero_fraction_total", ["task", "layer"]
)
# Of live workers: the one that drifts most.
DRIFT = Gauge(
    "relu_drift",
    "Largest stability index over the ReLU layers and the confidence",
    ["task"],
    multiprocess_mode="livemax",
)
DRIFT_RAISED = Gauge(
    "relu_drift_raised", "1 while relu_drift is above its threshold", ["task"], multiprocess_mode="livemax"
)


def render() -> bytes:
    """Return the metrics of all workers in Prometheus' text format, without the gauges of dead ones."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return generate_latest(REGISTRY)
    for path in Path(folder).glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            with suppress(FileNotFoundError):  # another worker is asked at the same time
                mark_process_dead(pid)  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def show_model(task: str, version: ModelVersion, precision: str, served: bool) -> None:
    MODEL.labels(task, version.name, version.version, version.sha256, precision).set(served)


def count_from_zero(task: str) -> None:
    """Create the series of reloads: Prometheus would not see a first count of 1 as an increase."""
    for result in ("ok", "refused"):
        RELOADS.labels(task, result)


def forget_drift(task: str) -> None:
    """Reset the drift of a model that is no longer served."""
    DRIFT.labels(task).set(0)
    DRIFT_RAISED.labels(task).set(0)


def add_zero_fractions(task: str, sums: dict[str, float], examples: int, drift: Drift) -> None:
    """Count `examples`, with the sum of their zero fractions by layer; the drift appears with its first value."""
    for layer, total in sums.items():
        ZERO_FRACTION.labels(task, layer).inc(total)
        ZERO_FRACTION_EXAMPLES.labels(task, layer).inc(examples)
    if drift.value is not None:
        DRIFT.labels(task).set(drift.value)
        DRIFT_RAISED.labels(task).set(drift.raised_since is not None)
