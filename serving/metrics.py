"""What `/metrics` shows; BentoML's own metrics are off, for they keep a series for every path that was ever asked for.

prometheus_client takes its folder for several processes from the environment, which BentoML sets before a worker
imports this module; `/metrics` of any worker then shows them all. There it writes each figure to a mapped file, which
takes as long as answering a text: requests are counted here first, and written once a second.
"""

import os
from bisect import bisect_left
from collections import Counter as Count
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import numpy as np
import psutil
from numpy.typing import NDArray
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from serving.drift import Drift
from serving.schemas import ModelVersion

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64)
SHARES = tuple(step / 20 for step in range(21))


class TallyHistogram(Histogram):
    """Takes many observations in one step: `counts` by bucket, the last above all bounds, and their sum."""

    def add(self, counts: Sequence[int], total: float) -> None:
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


REQUESTS = Counter("relu_requests", "Requests answered, whatever the answer", ["endpoint", "status"])
REFUSALS = Counter("relu_refusals", "Requests refused, by the code of the error", ["reason"])
REQUEST_SECONDS = TallyHistogram("relu_request_seconds", "From headers to answer", ["endpoint"], buckets=SECONDS)
BATCH_ROWS = TallyHistogram("relu_batch_rows", "Rows of one run of a graph", ["task"], buckets=ROWS)
IN_FLIGHT = Gauge("relu_in_flight", "Requests that are being answered", multiprocess_mode="livesum")
WAITING = Gauge("relu_waiting", "Requests that wait for a graph", multiprocess_mode="livesum")
MODEL = Gauge(
    "relu_model_info",
    "1 for a model that is served, 0 once it is not",
    ["task", "name", "version", "sha256", "precision"],
    multiprocess_mode="livemax",
)
RELOADS = Counter("relu_reloads", "New model files, and what became of them", ["task", "result"])
ZERO_SHARE = TallyHistogram(
    "relu_zero_share", "Share of zeros that a ReLU layer gave for a row", ["task", "layer"], buckets=SHARES
)
# Of workers that live: the one that drifts most.
DRIFT = Gauge("relu_drift", "Largest stability index over the ReLU layers", ["task"], multiprocess_mode="livemax")
RAISED = Gauge("relu_drift_raised", "1 while relu_drift is above its threshold", ["task"], multiprocess_mode="livemax")


class Tally:
    """What this worker did since the last `flush`, and what it does now."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.in_flight = 0
        self.waiting = 0
        self._clear()

    def _clear(self) -> None:
        self.requests: Count[tuple[str, int]] = Count()
        self.refusals: Count[str] = Count()
        self.rows: Count[tuple[str, int]] = Count()
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        with self.lock:
            self.requests[endpoint, status] += 1
            self.seconds[endpoint].append(seconds)

    def refusal(self, reason: str) -> None:
        with self.lock:
            self.refusals[reason] += 1

    def hopeless(self, endpoint: str) -> None:
        """Refused for overload before it was parsed; it took next to no time."""
        with self.lock:
            self.requests[endpoint, 429] += 1
            self.refusals["overloaded"] += 1

    def batch(self, task: str, rows: int) -> None:
        with self.lock:
            self.rows[task, rows] += 1

    def flush(self) -> None:
        with self.lock:
            requests, refusals, rows, seconds = self.requests, self.refusals, self.rows, self.seconds
            self._clear()
        for (endpoint, status), count in requests.items():
            REQUESTS.labels(endpoint, status).inc(count)
        for reason, count in refusals.items():
            REFUSALS.labels(reason).inc(count)
        for endpoint, values in seconds.items():
            _add(REQUEST_SECONDS.labels(endpoint), SECONDS, Count(values))
        for task in {task for task, _ in rows}:
            _add(BATCH_ROWS.labels(task), ROWS, Count({size: n for (name, size), n in rows.items() if name == task}))
        IN_FLIGHT.set(self.in_flight)
        WAITING.set(self.waiting)


TALLY = Tally()


def _add(histogram: TallyHistogram, bounds: Sequence[float], values: Count[float]) -> None:
    counts = [0] * (len(bounds) + 1)
    for value, count in values.items():
        counts[bisect_left(bounds, value)] += count
    histogram.add(counts, sum(value * count for value, count in values.items()))


def render() -> bytes:
    """Of all workers, in Prometheus' text format; what a killed worker said of its present is forgotten."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return generate_latest(REGISTRY)
    for path in Path(folder).glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            with suppress(FileNotFoundError):  # another worker is asked at the same time
                mark_process_dead(pid)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)


def show_model(task: str, version: ModelVersion, precision: str, served: bool) -> None:
    MODEL.labels(task, version.name, version.version, version.sha256, precision).set(served)


def forget_drift(task: str) -> None:
    """What a model before saw says nothing of the next."""
    DRIFT.labels(task).set(0)
    RAISED.labels(task).set(0)


class DriftMetrics:
    """Of one model."""

    def __init__(self, task: str, layers: list[str]) -> None:
        self.task = task
        self.shares = [ZERO_SHARE.labels(task, layer) for layer in layers]

    def observe(self, shares_NR: NDArray[np.float32], drift: Drift) -> None:
        """`relu_drift` appears with the first verdict."""
        buckets_NR = np.searchsorted(SHARES, shares_NR, side="left")
        for layer, histogram in enumerate(self.shares):
            counts = np.bincount(buckets_NR[:, layer], minlength=len(SHARES) + 1)
            histogram.add(counts.tolist(), float(shares_NR[:, layer].sum()))
        if drift.value is not None:
            DRIFT.labels(self.task).set(drift.value)
            RAISED.labels(self.task).set(drift.raised_since is not None)
