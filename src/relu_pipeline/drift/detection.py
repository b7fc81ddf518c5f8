"""Evaluation of the drift monitor on shifted copies of the test split.

The service monitors zero fractions and confidence together; each of these signals is also evaluated alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn
from tqdm import tqdm

from relu_pipeline import artifacts
from relu_pipeline.artifacts import ColumnBaseline, PreparedMeta
from relu_pipeline.data.batches import PreparedSplit
from relu_pipeline.data.randomness import generator
from relu_pipeline.drift import pictures
from relu_pipeline.drift.scores import Score, combined_score, max_softmax_score, zero_share_score
from relu_pipeline.drift.shifts import SEED, SHIFTS, sample
from relu_pipeline.health.zero_shares import Answers, answer, baseline, confidence, confidence_baseline
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.task import Task
from relu_pipeline.tracking.run import Run

TEST_ROWS = 2000  # examples of the test split that are used
STREAMS = 20
UNSHIFTED_STREAMS = 100
STREAM_ROWS = 2000
STEP = 10  # examples between two checks of the monitor


class Verdict(Protocol):
    @property
    def raised_since(self) -> str | None: ...


class Monitor(Protocol):
    """Interface of the service's drift monitor; the library must not import the service."""

    window: int
    too_few: str | None

    def add(self, values_NR: NDArray[np.float32]) -> Verdict: ...


NewMonitor = Callable[[Mapping[str, Mapping[str, Any]]], Monitor]


@dataclass(frozen=True)
class DriftRow:
    """Detection results for one shift, for each signal; `combined` is the signal of the service.

    `auroc`: how well the score separates single shifted examples from test examples. `rows_until_alarm`: median over
    the streams of the number of shifted examples until the alarm, after a window of unshifted ones; None if there is
    none within `STREAM_ROWS`. `alarms`: fraction of the streams with an alarm, for "unshifted" of false alarms; None if
    there are too few examples to decide.
    """

    shift: str
    rows: int
    auroc_zero_shares: float
    auroc_max_softmax: float
    auroc_combined: float
    rows_until_alarm_zero_shares: int | None
    rows_until_alarm_max_softmax: int | None
    rows_until_alarm_combined: int | None
    alarms_zero_shares: float | None
    alarms_max_softmax: float | None
    alarms_combined: float | None


@dataclass(frozen=True)
class Signal:
    """Monitored signal: `values` returns the monitor's input `[N, R]`, `score` the score of each example `[N]`."""

    name: str
    values: Callable[[Answers], NDArray[np.float32]]
    score: Score
    new_monitor: Callable[[], Monitor]


def report_drift(
    task: Task[Any], checkpoint: Path, prepared: Path, new_monitor: NewMonitor, run: Run, out: Path
) -> list[DriftRow]:
    """Write `drift.csv` and `drift.png` to `out`, log them to `run` and return the table. Raises ArtifactError."""
    meta = artifacts.read(prepared / artifacts.META, PreparedMeta)
    val, test = (task.load(prepared, split) for split in ("val", "test"))
    test = sample(test, TEST_ROWS)
    shifts = SHIFTS[task.name](test, prepared, meta.source.source == "demo")
    rows = measure_drift(load_network(checkpoint), val, test, shifts, new_monitor)
    table = [asdict(row) for row in rows]
    artifacts.write_table(out / artifacts.DRIFT_CSV, list(table[0]), table)
    pictures.draw_drift(table, STREAM_ROWS, out / artifacts.DRIFT_PNG)
    run.log_metrics({f"drift_auroc/{row.shift}": row.auroc_combined for row in rows})
    run.log_files([out / artifacts.DRIFT_CSV, out / artifacts.DRIFT_PNG], "drift")
    return rows


def measure_drift(
    network: nn.Module,
    val: PreparedSplit,
    test: PreparedSplit,
    shifts: Mapping[str, PreparedSplit],
    new_monitor: NewMonitor,
) -> list[DriftRow]:
    """Return a row for each shift.

    The first row, "unshifted", is of the test split: its AUROC against the validation split, and its false alarms.
    """
    of_val, of_test = answer(network, val), answer(network, test)
    signals = make_signals(of_val, len(of_test.probabilities), new_monitor)
    rows = [measure_shift("unshifted", signals, of_val, of_test, of_test, UNSHIFTED_STREAMS)]
    for name, split in tqdm(shifts.items(), "shifts", unit="", leave=False, disable=None):
        rows.append(measure_shift(name, signals, of_test, of_test, answer(network, split), STREAMS))
    return rows


def make_signals(val: Answers, stream_rows: int, new_monitor: NewMonitor) -> list[Signal]:
    """Return the signals, fitted to the validation split; `stream_rows` is the size of the split of the streams."""
    layers, top = baseline(val.layers, val.zero_shares), {"confidence": confidence_baseline(val.probabilities)}

    def watching(columns: dict[str, ColumnBaseline]) -> Callable[[], Monitor]:
        expected = {name: _of_streams(column, stream_rows).model_dump() for name, column in columns.items()}
        return lambda: new_monitor(expected)

    return [
        Signal("zero_shares", lambda found: found.zero_shares, zero_share_score(val), watching(layers)),
        Signal("max_softmax", _confidence_column, max_softmax_score, watching(top)),
        Signal("combined", _all_columns, combined_score(val), watching(layers | top)),
    ]


def _confidence_column(answers: Answers) -> NDArray[np.float32]:
    return confidence(answers.probabilities)[:, None]


def _all_columns(answers: Answers) -> NDArray[np.float32]:
    return np.hstack((answers.zero_shares, _confidence_column(answers)))


def _of_streams(column: ColumnBaseline, stream_rows: int) -> ColumnBaseline:
    """Return the baseline with a reduced number of rows, for streams that are drawn from only `stream_rows` examples.

    Such a sample differs by chance from the validation split. The variances of both, each 1 / rows, add up.
    """
    return column.model_copy(update={"rows": max(1, column.rows * stream_rows // (column.rows + stream_rows))})


def measure_shift(
    name: str, signals: list[Signal], usual: Answers, before: Answers, after: Answers, streams: int
) -> DriftRow:
    """Evaluate each signal: its AUROC of `after` against `usual`, and its alarms on `streams` streams.

    A stream consists of examples of `before`, followed by examples of `after`.
    """
    figures: dict[str, Any] = {}
    for signal in signals:
        delays = [
            rows_until_alarm(signal.new_monitor(), signal.values(before), signal.values(after), f"{name} {number}")
            for number in range(streams)
        ]
        median = np.median(delays)
        figures |= {
            f"auroc_{signal.name}": auroc(signal.score(usual), signal.score(after)),
            f"rows_until_alarm_{signal.name}": int(median) if np.isfinite(median) else None,
            f"alarms_{signal.name}": None if signal.new_monitor().too_few else float(np.isfinite(delays).mean()),
        }
    return DriftRow(shift=name, rows=len(after.probabilities), **figures)


def auroc(usual: NDArray[np.float64], unusual: NDArray[np.float64]) -> float:
    """Return the probability that an `unusual` score is larger than a `usual` one, rounded to 4 digits."""
    labels = np.repeat([0, 1], [len(usual), len(unusual)])
    return round(float(roc_auc_score(labels, np.concatenate((usual, unusual)))), 4)


def rows_until_alarm(monitor: Monitor, before: NDArray[np.float32], after: NDArray[np.float32], stream: str) -> float:
    """Return the number of examples of `after` until the alarm, in steps of `STEP`, after a window of `before`.

    It is infinite without alarm, and 0 for a false alarm in the window of `before`.
    """
    rng = generator(SEED, f"stream {stream}")
    if monitor.add(before[rng.integers(len(before), size=monitor.window)]).raised_since:
        return 0
    rows = after[rng.integers(len(after), size=STREAM_ROWS)]
    for start in range(0, STREAM_ROWS, STEP):
        if monitor.add(rows[start : start + STEP]).raised_since:
            return start + STEP
    return np.inf
