"""Intervals that contain the truth as often as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline.card.intervals import accuracy_interval, macro_intervals, macro_scores
from relu_pipeline.evaluation.metrics import confusion_counts, measure

# Shares of all examples by true (row) and predicted class, of unequal classes.
POPULATION = np.array(
    [[0.36, 0.03, 0.01, 0.0], [0.04, 0.24, 0.02, 0.0], [0.02, 0.03, 0.13, 0.02], [0.0, 0.01, 0.02, 0.07]]
)


@pytest.mark.parametrize(("accuracy", "examples"), [(0.9, 200), (0.98, 400), (0.5, 60)])
def test_the_interval_of_the_accuracy_contains_the_truth(
    rng: np.random.Generator, accuracy: float, examples: int
) -> None:
    drawn = rng.binomial(examples, accuracy, size=1000)
    intervals = [accuracy_interval(int(correct), examples) for correct in drawn]
    assert 0.93 <= np.mean([low <= accuracy <= high for low, high in intervals]) <= 0.98


def test_the_intervals_of_the_macro_means_contain_the_truth(rng: np.random.Generator) -> None:
    truth = macro_scores(np.round(1000 * POPULATION).astype(np.int64))
    found = [macro_intervals(rng.multinomial(500, POPULATION.ravel()).reshape(4, 4)) for _ in range(60)]
    for name, value in truth.items():
        contained = np.mean([one[name].low <= value <= one[name].high for one in found])
        assert contained >= 0.87
        assert np.mean([one[name].high - one[name].low for one in found]) < 0.12


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_the_means_are_those_of_the_evaluation(rows: list[tuple[int, int]]) -> None:
    """Also of classes without an example, or that are never predicted."""
    labels = np.array([true for true, _ in rows])
    probabilities = np.eye(5, dtype=np.float32)[[predicted for _, predicted in rows]]
    expected = measure(probabilities, labels, 5).model_dump()
    for name, value in macro_scores(confusion_counts(probabilities, labels)).items():
        assert value == pytest.approx(expected[name], abs=1e-6)


def test_the_same_counts_have_the_same_intervals() -> None:
    counts = np.array([[40, 10], [5, 45]])
    assert macro_intervals(counts) == macro_intervals(counts.copy())


def test_a_test_split_without_a_mistake_leaves_room_below_1() -> None:
    assert accuracy_interval(100, 100).low == pytest.approx(0.963, abs=1e-3)
    assert accuracy_interval(100, 100).high == 1
    assert macro_intervals(np.diag([50, 50]))["f1_macro"] == (1, 1)
