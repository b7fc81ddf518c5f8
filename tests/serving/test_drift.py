"""DriftMonitor: a stability index over the last examples, and an alarm while it is above its threshold."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relu_pipeline.health.zero_shares import baseline
from serving.drift import DriftMonitor, chance_index, stability_index

WINDOW, THRESHOLD = 200, 0.5
STREAM_ROWS, STEP = 2000, 25
LAYERS = ["first", "second"]


def usual(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Return zero fractions of layers of 64 units: with ties."""
    return (rng.binomial(64, [0.5, 0.2], size=(rows, 2)) / 64).astype(np.float32)


def shifted(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Return the same with other values in the second layer alone."""
    return (rng.binomial(64, [0.5, 0.6], size=(rows, 2)) / 64).astype(np.float32)


def baseline_of(shares: np.ndarray) -> dict[str, dict[str, object]]:
    return {layer: found.model_dump() for layer, found in baseline(LAYERS, shares).items()}


@pytest.fixture
def monitor(rng: np.random.Generator) -> DriftMonitor:
    return DriftMonitor(baseline_of(usual(rng, 3000)), WINDOW, THRESHOLD)


def test_there_is_no_index_before_the_window_is_full(monitor: DriftMonitor, rng: np.random.Generator) -> None:
    for rows in range(1, WINDOW):
        state = monitor.add(shifted(rng, 1))
        assert (state.value, state.by_signal, state.raised_since, state.rows_seen) == (None, None, None, rows)
    state = monitor.add(shifted(rng, 1))
    assert state.raised_since
    assert state.value == state.by_signal["second"] > THRESHOLD > state.by_signal["first"]


def test_the_alarm_rises_with_the_shift_and_falls_with_its_end(monitor: DriftMonitor, rng: np.random.Generator) -> None:
    assert monitor.add(usual(rng, WINDOW)).raised_since is None
    before = datetime.now(UTC)
    since = monitor.add(shifted(rng, WINDOW)).raised_since
    assert timedelta(seconds=-1) <= datetime.fromisoformat(since) - before <= timedelta(seconds=60)
    assert datetime.fromisoformat(since).utcoffset() == timedelta(0)
    monitor.raised_since = "earlier"
    assert monitor.add(shifted(rng, 3)).raised_since == "earlier"
    assert monitor.read().raised_since == "earlier"
    assert monitor.add(usual(rng, WINDOW)).raised_since is None


def test_examples_like_the_baseline_raise_no_alarm(monitor: DriftMonitor, rng: np.random.Generator) -> None:
    assert not any(monitor.add(usual(rng, 10)).raised_since for _ in range(200))


@given(st.lists(st.integers(1, 260), min_size=1, max_size=12), st.integers(0, 1000))
@settings(max_examples=50)
def test_only_the_last_examples_count_however_they_are_batched(batches: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    expected = baseline_of(usual(rng, 500))
    rows = np.concatenate((usual(rng, sum(batches)), shifted(rng, WINDOW)))
    monitor, whole = (DriftMonitor(expected, WINDOW, THRESHOLD) for _ in range(2))
    for batch in np.split(rows, np.cumsum(batches)):
        state = monitor.add(batch)
    assert state.by_signal == pytest.approx(whole.add(rows[-WINDOW:]).by_signal)
    assert state.rows_seen == len(rows)
    np.testing.assert_array_equal(monitor.counts_RB.sum(axis=1), WINDOW)


@given(st.integers(0, 1000))
@settings(max_examples=50)
def test_the_order_within_the_window_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    expected, rows = baseline_of(usual(rng, 500)), shifted(rng, WINDOW)
    states = [DriftMonitor(expected, WINDOW, THRESHOLD).add(part) for part in (rows, rng.permutation(rows))]
    assert states[0].by_signal == states[1].by_signal


def test_the_examples_of_the_baseline_have_the_index_0(rng: np.random.Generator) -> None:
    rows = usual(rng, WINDOW)
    assert DriftMonitor(baseline_of(rows), WINDOW, THRESHOLD).add(rows).value == pytest.approx(0, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 100)), min_size=1, max_size=10))
def test_the_index_is_finite_and_at_least_0_and_0_for_equal_fractions(bins: list[tuple[int, int]]) -> None:
    counts, expected = np.array(bins, dtype=float).T
    expected /= expected.sum()
    found = stability_index(counts[None], expected[None])
    assert np.isfinite(found).all()
    assert found[0] >= 0
    assert stability_index(100 * expected[None], expected[None])[0] == pytest.approx(0, abs=1e-12)


def test_the_index_of_a_known_case() -> None:
    """p = (99 + 0.5) / 100, q = 0.5."""
    index = stability_index(np.array([[99.0, 0.0]]), np.array([[0.5, 0.5]]))
    assert index[0] == pytest.approx(0.495 * np.log(0.995 / 0.5) - 0.495 * np.log(0.005 / 0.5))


def test_a_layer_with_fewer_bins_has_the_index_that_it_has_alone(rng: np.random.Generator) -> None:
    constant = np.full((500, 1), 0.5, dtype=np.float32)
    shares = np.concatenate((constant, usual(rng, 500)[:, 1:]), axis=1)
    rows = shifted(rng, WINDOW)
    found = DriftMonitor(baseline_of(shares), WINDOW, THRESHOLD).add(rows).by_signal
    alone = DriftMonitor({"second": baseline_of(shares)["second"]}, WINDOW, THRESHOLD).add(rows[:, 1:])
    assert found == {"first": 0, "second": pytest.approx(alone.value)}


def test_without_a_signal_there_is_no_alarm() -> None:
    state = DriftMonitor({}, WINDOW, THRESHOLD).add(np.zeros((WINDOW, 0), dtype=np.float32))
    assert (state.value, state.raised_since, state.rows_seen) == (None, None, WINDOW)


def layered(rng: np.random.Generator, rows: int, layers: int) -> np.ndarray:
    """Return correlated zero fractions, of a large layer and of one of 16 units in turns: with many ties."""
    common = rng.normal(size=(rows, 1))
    chance = 1 / (1 + np.exp(-0.5 * common - 0.5 * rng.normal(size=(rows, layers))))
    units = np.where(np.arange(layers) % 2, 16, 2**20)
    return (rng.binomial(units, chance) / units).astype(np.float32)


def raises_alarm(monitor: DriftMonitor, rows: np.ndarray) -> bool:
    """Return whether the alarm rises at any of the looks at a stream, and take it in up to there."""
    return any(monitor.add(part).raised_since for part in np.split(rows, range(STEP, len(rows), STEP)))


@pytest.mark.parametrize("layers", [1, 3, 8])
@pytest.mark.parametrize("val_rows", [100, 164, 300, 1000, 5000])
@pytest.mark.parametrize("window", [200, 500])
def test_at_most_one_unshifted_stream_in_100_raises_an_alarm(val_rows: int, layers: int, window: int) -> None:
    rng = np.random.default_rng(val_rows + layers)
    names = [f"layer {number}" for number in range(layers)]
    alarms = 0
    for _ in range(100):
        expected = {name: found.model_dump() for name, found in baseline(names, layered(rng, val_rows, layers)).items()}
        monitor = DriftMonitor(expected, window, 0.2)
        assert monitor.too_few is None
        alarms += raises_alarm(monitor, layered(rng, STREAM_ROWS, layers))
    assert alarms <= 1


@pytest.mark.parametrize("val_rows", [100, 164, 300, 1000, 5000])
def test_a_large_shift_raises_the_alarm_within_a_window_of_500(val_rows: int, rng: np.random.Generator) -> None:
    monitor = DriftMonitor(baseline_of(usual(rng, val_rows)), 500, 0.2)
    assert not raises_alarm(monitor, usual(rng, 1000))
    assert raises_alarm(monitor, shifted(rng, 500))


def test_many_validation_examples_leave_the_threshold_as_it_is_configured(rng: np.random.Generator) -> None:
    thresholds = [
        DriftMonitor(baseline_of(usual(rng, rows)), 500, 0.2).threshold for rows in (100, 200, 400, 600, 5000)
    ]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[0] > thresholds[1] > 0.2
    assert thresholds[3:] == [0.2, 0.2]


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 23.93), (2, 27.63), (4, 33.38), (9, 44.81)])
def test_the_threshold_of_one_signal_is_the_quantile_of_chi_squared(degrees: int, quantile: float) -> None:
    """Of a probability of 1e-6, from SciPy's `chi2.isf`; the approximation errs to the safe side."""
    found = chance_index(baseline_rows=1000, window=500, num_signals=1, num_bins=degrees + 1) / (1 / 1000 + 1 / 500)
    assert 1 <= found / quantile < 1.16


def test_too_few_validation_examples_are_said_and_raise_no_alarm(rng: np.random.Generator) -> None:
    monitor = DriftMonitor(baseline_of(usual(rng, 40)), 500, 0.2)
    state = monitor.add(shifted(rng, 2000))
    assert (state.value, state.by_signal, state.raised_since) == (None, None, None)
    assert state.too_few.startswith("40 validation examples and a window of 500 are too few")


def test_the_examples_of_many_threads_are_all_counted(monitor: DriftMonitor, rng: np.random.Generator) -> None:
    batches = [usual(rng, 7) for _ in range(400)]
    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(monitor.add, batches))
    assert monitor.read().rows_seen == 2800 == max(state.rows_seen for state in states)
    np.testing.assert_array_equal(monitor.counts_RB.sum(axis=1), WINDOW)
    bins = np.sort(monitor.recent[:, 0])
    np.testing.assert_array_equal(np.bincount(bins, minlength=monitor.counts_RB.shape[1]), monitor.counts_RB[0])
