import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline import artifacts
from relu_pipeline.drift import detection
from relu_pipeline.health.zero_shares import Answers
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import NullRun
from serving.drift import DriftMonitor

new_monitor = partial(DriftMonitor, window=200, threshold=0.4)
service_monitor = partial(DriftMonitor, window=500, threshold=0.2)


def answers(rng: np.random.Generator, rows: int, mean: float) -> Answers:
    """Two correlated layers, and two classes."""
    common = rng.normal(size=(rows, 1))
    shares = mean + 0.05 * common + 0.01 * rng.normal(size=(rows, 2))
    top = rng.uniform(0.5, 1, size=rows)
    return Answers(["a", "b"], np.stack((top, 1 - top), axis=1).astype(np.float32), shares.astype(np.float32))


@pytest.mark.parametrize("task", ["image", "text"])
def test_the_report_holds_every_shift_and_is_the_same_again(
    trained: Path, prepared: Path, tmp_path: Path, task: str
) -> None:
    outs = [tmp_path / name for name in ("first", "second")]
    for out in outs:
        rows = detection.report_drift(
            TASKS[task], trained / task / "best.ckpt", prepared / task, service_monitor, NullRun(), out
        )
    first, second = ((out / artifacts.DRIFT_CSV).read_text() for out in outs)
    assert first == second
    table = {line["shift"]: line for line in csv.DictReader(first.splitlines())}
    assert list(table) == [row.shift for row in rows]
    assert len(table) == 5
    assert all(
        0 <= float(line[f"{kind}_{name}"]) <= 1
        for line in table.values()
        for kind in ("auroc", "alarms")
        for name in ("zero_shares", "max_softmax", "combined")
    )
    assert float(table["unshifted"]["auroc_zero_shares"]) == pytest.approx(0.5, abs=0.1)
    if task == "text":
        assert float(table["shuffled words"]["auroc_zero_shares"]) == pytest.approx(0.5, abs=0.01)
    else:
        assert float(table["noise"]["auroc_zero_shares"]) > 0.6
    assert (outs[0] / artifacts.DRIFT_PNG).read_bytes().startswith(b"\x89PNG")


def test_rows_like_those_before_are_not_told_apart_and_raise_no_alarm(rng: np.random.Generator) -> None:
    val, test, more = (answers(rng, 4000, 0.5) for _ in range(3))
    for signal in detection.make_signals(val, 4000, new_monitor):
        assert detection.auroc(*(signal.score(rows) for rows in (test, more))) == pytest.approx(0.5, abs=0.03)
        delays = [
            detection.rows_until_alarm(signal.new_monitor(), signal.values(test), signal.values(more), str(n))
            for n in range(20)
        ]
        assert not np.isfinite(delays).any()


@pytest.mark.parametrize(("val_rows", "test_rows"), [(164, 180), (300, 300), (1000, 200)])
def test_streams_that_repeat_few_rows_raise_no_false_alarm(
    rng: np.random.Generator, val_rows: int, test_rows: int
) -> None:
    alarms = []
    for _ in range(20):
        val, test = answers(rng, val_rows, 0.5), answers(rng, test_rows, 0.5)
        combined = detection.make_signals(val, test_rows, service_monitor)[-1]
        values = combined.values(test)
        alarms += [detection.rows_until_alarm(combined.new_monitor(), values, values, str(n)) for n in range(5)]
    assert np.isfinite(alarms).sum() <= 1


def test_a_shift_is_told_and_raises_the_alarm_within_a_window(rng: np.random.Generator) -> None:
    val, test, shifted = answers(rng, 4000, 0.5), answers(rng, 4000, 0.5), answers(rng, 4000, 0.7)
    row = detection.measure_shift("shift", detection.make_signals(val, 4000, new_monitor), test, test, shifted, 5)
    assert row.auroc_zero_shares > 0.95
    assert row.auroc_combined > 0.95
    assert row.auroc_max_softmax == pytest.approx(0.5, abs=0.03)
    assert row.rows_until_alarm_zero_shares % detection.STEP == 0
    assert 0 < row.rows_until_alarm_zero_shares < 200
    assert (row.rows_until_alarm_max_softmax, row.alarms_zero_shares, row.alarms_max_softmax) == (None, 1, 0)
    assert row.rows_until_alarm_combined == row.rows_until_alarm_zero_shares


def test_alarms_are_left_open_where_the_rows_are_too_few_to_tell(rng: np.random.Generator) -> None:
    val, test = answers(rng, 60, 0.5), answers(rng, 60, 0.5)
    row = detection.measure_shift(
        "shift", detection.make_signals(val, 60, service_monitor), test, test, answers(rng, 60, 0.7), 5
    )
    assert (row.alarms_combined, row.rows_until_alarm_combined) == (None, None)
    assert row.auroc_combined > 0.9


def test_a_network_without_relu_is_watched_by_its_confidence(rng: np.random.Generator) -> None:
    val, test, shifted = (
        Answers([], np.stack((top, 1 - top), axis=1).astype(np.float32), np.zeros((2000, 0), dtype=np.float32))
        for top in (rng.uniform(least, 1, size=2000) for least in (0.5, 0.5, 0.8))
    )
    row = detection.measure_shift("shift", detection.make_signals(val, 2000, service_monitor), test, test, shifted, 5)
    assert (row.alarms_zero_shares, row.alarms_max_softmax, row.alarms_combined) == (0, 1, 1)
    assert row.rows_until_alarm_combined == row.rows_until_alarm_max_softmax


VALUES = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=30).map(np.array)


@given(VALUES, VALUES)
def test_auroc_is_the_share_of_pairs_in_order(usual: np.ndarray, unusual: np.ndarray) -> None:
    pairs = (unusual[:, None] > usual) + 0.5 * (unusual[:, None] == usual)
    assert detection.auroc(usual, unusual) == pytest.approx(pairs.mean(), abs=1e-4)
    assert detection.auroc(usual, usual) == pytest.approx(0.5)
