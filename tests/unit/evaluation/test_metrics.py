import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from relu_pipeline.evaluation.metrics import confident_mistakes, confusion_counts, measure, reliability

NAMES = ["a", "b", "c"]


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    rows = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    return rng.dirichlet(np.ones(3), size=rows).astype(np.float32), rng.integers(3, size=rows)


@given(answers())
def test_figures_agree_with_scikit_learn(given_answers: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = given_answers
    predicted = probabilities.argmax(axis=1)
    found = measure(probabilities, labels, NAMES, 10)
    macro = sklearn_metrics.f1_score(labels, predicted, labels=[0, 1, 2], average="macro", zero_division=0)
    assert found.accuracy == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert found.f1_macro == pytest.approx(macro)
    assert found.loss == pytest.approx(-np.log(probabilities[np.arange(len(labels)), labels]).mean(), rel=1e-4)
    np.testing.assert_array_equal(
        confusion_counts(probabilities, labels), sklearn_metrics.confusion_matrix(labels, predicted, labels=[0, 1, 2])
    )


@given(answers(), st.integers(2, 20))
def test_reliability_bins_hold_each_row_once(given_answers: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    probabilities, labels = given_answers
    found = reliability(probabilities, labels, bins)
    assert found.count.sum() == len(labels)
    assert 0 <= found.calibration_error <= 1


def test_the_calibration_error_of_a_known_case() -> None:
    probabilities = np.array([[0.8, 0.2, 0.0]] * 10, dtype=np.float32)
    labels = np.array([0] * 5 + [1] * 5)
    assert reliability(probabilities, labels, 10).calibration_error == pytest.approx(0.3)


def test_a_certain_and_wrong_answer_has_a_finite_loss() -> None:
    probabilities = np.array([[1.0, 0.0, 0.0]], dtype=np.float32)
    assert np.isfinite(measure(probabilities, np.array([1]), NAMES, 10).loss)


def test_mistakes_are_ordered_by_confidence() -> None:
    probabilities = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.7, 0.3, 0], [0.1, 0.9, 0]], dtype=np.float32)
    labels = np.array([0, 1, 1, 0])
    assert confident_mistakes(probabilities, labels, 2).tolist() == [3, 2]
