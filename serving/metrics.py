"""Prometheus metrics. BentoML's own are disabled, because they create a series for every requested path.

All workers write to one folder (prometheus_client's multiprocess mode), whose name BentoML sets in the environment of a
worker before it imports this module. `/metrics` of any worker therefore has the metrics of all.
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

REQUESTS = Counter("relu_requests", "Requests, by endpoint and status", ["endpoint", "status"])
REJECTED_REQUESTS = Counter("relu_rejected_requests", "Rejected requests, by error code", ["reason"])
REQUEST_DURATION = Histogram(
    "relu_request_duration_seconds", "Time from the request's headers to the response", ["endpoint"], buckets=SECONDS
)
REQUESTS_IN_FLIGHT = Gauge(
    "relu_requests_in_flight", "Classification requests in progress", multiprocess_mode="livesum"
)
QUEUE_DEPTH = Gauge("relu_queue_depth", "Requests waiting for the model", ["task"], multiprocess_mode="livesum")
BATCH_SIZE = Histogram("relu_batch_size", "Examples per run of the model", ["task"], buckets=SIZES)
MODEL = Gauge(
    "relu_model_info",
    "1 for the model in use, 0 for earlier ones",
    ["task", "name", "version", "sha256", "precision"],
    multiprocess_mode="livemax",
)
RELOADS = Counter("relu_reloads", "Reloads of model files, by task and result", ["task", "result"])
# A sum and a count instead of a Summary, which can only add one observation at a time.
ZERO_FRACTION = Counter("relu_zero_fraction", "Sum of the zero fractions of a ReLU layer", ["task", "layer"])
ZERO_FRACTION_EXAMPLES = Counter(
    "relu_zero_fraction_examples", "Examples in relu_zero_fraction_total", ["task", "layer"]
)
# The maximum over the live workers.
DRIFT = Gauge(
    "relu_drift",
    "Largest population stability index of the ReLU layers and the confidence",
    ["task"],
    multiprocess_mode="livemax",
)
DRIFT_RAISED = Gauge(
    "relu_drift_raised", "1 while relu_drift is above its threshold", ["task"], multiprocess_mode="livemax"
)


def render() -> bytes:
    """Return the metrics of all workers in Prometheus' text format, without gauges of workers that have exited."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return generate_latest(REGISTRY)
    for path in Path(folder).glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            with suppress(FileNotFoundError):  # another worker may remove it at the same time
                mark_process_dead(pid)  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def show_model(task: str, version: ModelVersion, precision: str, served: bool) -> None:
    MODEL.labels(task, version.name, version.version, version.sha256, precision).set(served)


def count_from_zero(task: str) -> None:
    """Create the series of reloads with 0: Prometheus does not count a first value of 1 as an increase."""
    for result in ("ok", "refused"):
        RELOADS.labels(task, result)


def forget_drift(task: str) -> None:
    """Reset the drift of a model that is no longer served."""
    DRIFT.labels(task).set(0)
    DRIFT_RAISED.labels(task).set(0)


def add_zero_fractions(task: str, sums: dict[str, float], examples: int, drift: Drift) -> None:
    """Add the number of examples and their sums of zero fractions by layer, and set the drift if it has a value."""
    for layer, total in sums.items():
        ZERO_FRACTION.labels(task, layer).inc(total)
        ZERO_FRACTION_EXAMPLES.labels(task, layer).inc(examples)
    if drift.value is not None:
        DRIFT.labels(task).set(drift.value)
        DRIFT_RAISED.labels(task).set(drift.raised_since is not None)
