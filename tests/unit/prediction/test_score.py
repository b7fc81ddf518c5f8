"""The figures of a stream of predictions: those that scikit-learn gives for all of them at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from relu_pipeline.prediction.score import Score

LABELS = ["a", "b", "c", "d"]
PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


def scored(pairs: list[tuple[str, int]]) -> Score:
    score = Score(LABELS)
    for actual, predicted in pairs:
        score.add(actual, predicted)
    return score


@given(PAIRS)
@pytest.mark.filterwarnings("ignore:.*classes not in y_true", "ignore:A single label was found")
def test_the_figures_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    score = scored([(LABELS[actual], predicted) for actual, predicted in pairs])
    actual, predicted = np.array(pairs).T
    expected = (
        accuracy_score(actual, predicted),
        balanced_accuracy_score(actual, predicted),
        f1_score(actual, predicted, average="macro"),
    )
    assert (score.accuracy, score.balanced_accuracy, score.f1_macro) == pytest.approx(expected)
    assert (score.count, score.count_unknown) == (len(pairs), 0)


def test_a_label_that_is_no_class_is_a_mistake_and_no_class_of_its_own() -> None:
    score = scored([("a", 0), ("b", 1), ("?", 0), ("!", 0)])
    assert score.accuracy == 0.5
    assert score.balanced_accuracy == 1
    assert score.f1_macro == pytest.approx((2 * 1 / (1 + 3) + 1) / 2)
    assert (score.count_unknown, score.unknown) == (2, ["?", "!"])


def test_a_column_of_other_values_is_counted_in_little_memory() -> None:
    score = scored([(f"id {number}", 0) for number in range(1000)])
    assert score.count_unknown == 1000
    assert len(score.unknown) == 5
