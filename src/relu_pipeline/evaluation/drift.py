"""What the drift alarm is worth: shifted copies of the test split, seen by zero shares and by the maximum softmax."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn

from relu_pipeline import artifacts
from relu_pipeline.artifacts import PreparedMeta
from relu_pipeline.data.batches import PreparedSplit
from relu_pipeline.data.randomness import generator
from relu_pipeline.evaluation import pictures
from relu_pipeline.evaluation.shifts import SEED, SHIFTS, sample
from relu_pipeline.health.zero_shares import Answers, answer, baseline
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.task import Task
from relu_pipeline.tracking.run import Run

DRIFT_CSV, DRIFT_PNG = "drift.csv", "drift.png"
TEST_ROWS = 2000  # of the test split, before each shift
STREAMS = 20
UNSHIFTED_STREAMS = 100
STREAM_ROWS = 2000
STEP = 10  # rows between two looks at the monitor


class Verdict(Protocol):
    raised_since: str | None


class Monitor(Protocol):
    """The service's; the library does not know the service."""

    window: int

    def add(self, shares_NR: NDArray[np.float32]) -> Verdict: ...


NewMonitor = Callable[[Mapping[str, Mapping[str, Any]]], Monitor]


@dataclass(frozen=True)
class DriftRow:
    """Of one shift. AUROC: does the score tell a shifted row from a row of the test split?

    `rows_until_alarm`: shifted rows after a window of unshifted ones, median over the streams; None: never within
    `STREAM_ROWS`. `alarms`: share of the streams that raised the alarm, for "unshifted" that of false alarms.
    """

    shift: str
    rows: int
    auroc_zero_shares: float
    auroc_max_softmax: float
    rows_until_alarm_zero_shares: int | None
    rows_until_alarm_max_softmax: int | None
    alarms_zero_shares: float
    alarms_max_softmax: float


@dataclass(frozen=True)
class Signal:
    """What is watched: `values(answers)` `[N, R]`, and `score(values)` `[N]`, larger where a row is less usual."""

    name: str
    values: Callable[[Answers], NDArray[np.float32]]
    score: Callable[[NDArray[np.float32]], NDArray[np.float64]]
    new_monitor: Callable[[], Monitor]


def report_drift(
    task: Task[Any], checkpoint: Path, prepared: Path, new_monitor: NewMonitor, run: Run, out: Path
) -> list[DriftRow]:
    """Write `drift.csv` and `drift.png` into `out` and log them to `run`. Raises ArtifactError."""
    meta = artifacts.read(prepared / "meta.json", PreparedMeta)
    val, test = (task.load(prepared, split) for split in ("val", "test"))
    test = sample(test, TEST_ROWS)
    shifts = SHIFTS[task.name](test, prepared, meta.source.source == "demo")
    rows = measure_drift(load_network(checkpoint), val, test, shifts, new_monitor)
    table = [asdict(row) for row in rows]
    artifacts.write_table(out / DRIFT_CSV, list(table[0]), table)
    pictures.draw_drift(table, STREAM_ROWS, out / DRIFT_PNG)
    run.log_metrics({f"drift/{row.shift}/auroc_zero_shares": row.auroc_zero_shares for row in rows})
    run.log_files([out / DRIFT_CSV, out / DRIFT_PNG], "evaluation")
    return rows


def measure_drift(
    network: nn.Module,
    val: PreparedSplit,
    test: PreparedSplit,
    shifts: Mapping[str, PreparedSplit],
    new_monitor: NewMonitor,
) -> list[DriftRow]:
    """The first row, "unshifted", is of the test split: its AUROC against validation rows, its false alarms."""
    of_val, of_test = answer(network, val), answer(network, test)
    signals = [zero_share_signal(of_val, new_monitor), max_softmax_signal(of_val, new_monitor)]
    rows = [_measure("unshifted", signals, of_val, of_test, of_test, UNSHIFTED_STREAMS)]
    for name, split in shifts.items():
        rows.append(_measure(name, signals, of_test, of_test, answer(network, split), STREAMS))
    return rows


def zero_share_signal(val: Answers, new_monitor: NewMonitor) -> Signal:
    """Scored by the Mahalanobis distance over the layers, which on validation rows told shifts better than z scores."""
    mean = val.zero_shares.mean(axis=0, dtype=np.float64)
    precision = np.linalg.pinv(np.atleast_2d(np.cov(val.zero_shares.T.astype(np.float64))), hermitian=True)
    expected = {layer: found.model_dump() for layer, found in baseline(val.layers, val.zero_shares).items()}
    return Signal(
        "zero_shares",
        lambda answers: answers.zero_shares,
        lambda shares: np.einsum("ni,ij,nj->n", shares - mean, precision, shares - mean),
        lambda: new_monitor(expected),
    )


def max_softmax_signal(val: Answers, new_monitor: NewMonitor) -> Signal:
    """The usual baseline: Hendrycks & Gimpel 2017, arXiv:1610.02136."""

    def largest(answers: Answers) -> NDArray[np.float32]:
        return answers.probabilities.max(axis=1, keepdims=True)

    expected = {layer: found.model_dump() for layer, found in baseline(["max_softmax"], largest(val)).items()}
    return Signal("max_softmax", largest, lambda top: 1 - top[:, 0].astype(np.float64), lambda: new_monitor(expected))


def _measure(
    name: str, signals: list[Signal], usual: Answers, before: Answers, after: Answers, streams: int
) -> DriftRow:
    figures: dict[str, Any] = {}
    for signal in signals:
        delays = [
            rows_until_alarm(signal.new_monitor(), signal.values(before), signal.values(after), f"{name} {number}")
            for number in range(streams)
        ]
        median = np.median(delays)
        figures |= {
            f"auroc_{signal.name}": auroc(signal.score(signal.values(usual)), signal.score(signal.values(after))),
            f"rows_until_alarm_{signal.name}": int(median) if np.isfinite(median) else None,
            f"alarms_{signal.name}": float(np.isfinite(delays).mean()),
        }
    return DriftRow(shift=name, rows=len(after.probabilities), **figures)


def auroc(usual: NDArray[np.float64], unusual: NDArray[np.float64]) -> float:
    """Probability that a row of `unusual` has the larger score, to 4 digits; a tie counts half."""
    labels = np.repeat([0, 1], [len(usual), len(unusual)])
    return round(float(roc_auc_score(labels, np.concatenate((usual, unusual)))), 4)


def rows_until_alarm(monitor: Monitor, before: NDArray[np.float32], after: NDArray[np.float32], stream: str) -> float:
    """Rows of `after` until the alarm, to the next `STEP`; a window of `before` comes first. Infinite: no alarm.

    0: a false one, raised by the rows before.
    """
    rng = generator(SEED, f"stream {stream}")
    if monitor.add(before[rng.integers(len(before), size=monitor.window)]).raised_since:
        return 0
    rows = after[rng.integers(len(after), size=STREAM_ROWS)]
    for start in range(0, STREAM_ROWS, STEP):
        if monitor.add(rows[start : start + STEP]).raised_since:
            return start + STEP
    return np.inf
