import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline.evaluation import drift
from relu_pipeline.health.zero_shares import Answers
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import NullRun
from serving.drift import DriftMonitor

new_monitor = partial(DriftMonitor, window=200, threshold=0.4)


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
    monitor = partial(DriftMonitor, window=500, threshold=0.2)
    outs = [tmp_path / name for name in ("first", "second")]
    for out in outs:
        rows = drift.report_drift(TASKS[task], trained / task / "best.ckpt", prepared / task, monitor, NullRun(), out)
    first, second = ((out / drift.DRIFT_CSV).read_text() for out in outs)
    assert first == second
    table = {line["shift"]: line for line in csv.DictReader(first.splitlines())}
    assert list(table) == [row.shift for row in rows]
    assert len(table) == 5
    assert all(
        0 <= float(line[f"{kind}_{name}"]) <= 1
        for line in table.values()
        for kind in ("auroc", "alarms")
        for name in ("zero_shares", "max_softmax")
    )
    assert float(table["unshifted"]["auroc_zero_shares"]) == pytest.approx(0.5, abs=0.1)
    if task == "text":
        assert float(table["shuffled words"]["auroc_zero_shares"]) == pytest.approx(0.5, abs=0.01)
    else:
        assert float(table["noise"]["auroc_zero_shares"]) > 0.6
    assert (outs[0] / drift.DRIFT_PNG).read_bytes().startswith(b"\x89PNG")


def test_rows_like_those_before_are_not_told_apart_and_raise_no_alarm(rng: np.random.Generator) -> None:
    val, test, more = (answers(rng, 4000, 0.5) for _ in range(3))
    signal = drift.zero_share_signal(val, new_monitor)
    assert drift.auroc(*(signal.score(signal.values(rows)) for rows in (test, more))) == pytest.approx(0.5, abs=0.03)
    delays = [
        drift.rows_until_alarm(signal.new_monitor(), test.zero_shares, more.zero_shares, str(n)) for n in range(20)
    ]
    assert not np.isfinite(delays).any()


def test_a_shift_is_told_and_raises_the_alarm_within_a_window(rng: np.random.Generator) -> None:
    val, test, shifted = answers(rng, 4000, 0.5), answers(rng, 4000, 0.5), answers(rng, 4000, 0.7)
    zero_shares, softmax = (make(val, new_monitor) for make in (drift.zero_share_signal, drift.max_softmax_signal))
    row = drift._measure("shift", [zero_shares, softmax], test, test, shifted, 5)
    assert row.auroc_zero_shares > 0.95
    assert row.auroc_max_softmax == pytest.approx(0.5, abs=0.03)
    assert row.rows_until_alarm_zero_shares % drift.STEP == 0
    assert 0 < row.rows_until_alarm_zero_shares < 200
    assert (row.rows_until_alarm_max_softmax, row.alarms_zero_shares, row.alarms_max_softmax) == (None, 1, 0)


def test_the_score_sees_what_breaks_the_layers_correlation(rng: np.random.Generator) -> None:
    val = answers(rng, 4000, 0.5)
    signal = drift.zero_share_signal(val, new_monitor)
    together, apart = np.array([[0.55, 0.55]]), np.array([[0.55, 0.45]])
    assert signal.score(apart) > 10 * signal.score(together)


def test_a_less_certain_answer_is_less_usual_to_maximum_softmax(rng: np.random.Generator) -> None:
    val = answers(rng, 100, 0.5)
    signal = drift.max_softmax_signal(val, new_monitor)
    np.testing.assert_allclose(signal.score(signal.values(val)), 1 - val.probabilities.max(axis=1))


VALUES = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=30).map(np.array)


@given(VALUES, VALUES)
def test_auroc_is_the_share_of_pairs_in_order(usual: np.ndarray, unusual: np.ndarray) -> None:
    pairs = (unusual[:, None] > usual) + 0.5 * (unusual[:, None] == usual)
    assert drift.auroc(usual, unusual) == pytest.approx(pairs.mean(), abs=1e-4)
    assert drift.auroc(usual, usual) == pytest.approx(0.5)
