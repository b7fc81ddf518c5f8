import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from relu_pipeline.evaluation.metrics import (
    calibration_error,
    confident_mistakes,
    confusion_counts,
    measure,
    measure_by_class,
    reliability,
)


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    rows = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    return rng.dirichlet(np.ones(3), size=rows).astype(np.float32), rng.integers(3, size=rows)


@settings(deadline=None)
@given(answers(), st.integers(1, 3))
def test_figures_agree_with_scikit_learn(given_answers: tuple[np.ndarray, np.ndarray], occurring: int) -> None:
    """Also where classes are missing from the labels, or never predicted."""
    probabilities, labels = given_answers
    labels = labels % occurring
    predicted = probabilities.argmax(axis=1)
    found = measure(probabilities, labels, 10)
    by_class = measure_by_class(probabilities, labels)
    assert found.accuracy == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted), abs=1e-6)
    recalls = sklearn_metrics.recall_score(labels, predicted, labels=np.unique(labels), average="macro")
    assert found.balanced_accuracy == pytest.approx(recalls, abs=1e-6)
    for name in ("precision", "recall", "f1"):
        of_sklearn = getattr(sklearn_metrics, f"{name}_score")
        each = of_sklearn(labels, predicted, labels=[0, 1, 2], average=None, zero_division=0)
        assert [row[name] for row in by_class] == pytest.approx(each.tolist(), abs=1e-6)
    for name in ("precision", "f1"):
        macro = getattr(sklearn_metrics, f"{name}_score")(labels, predicted, average="macro", zero_division=0)
        assert getattr(found, f"{name}_macro") == pytest.approx(macro, abs=1e-6)
    assert [row["rows"] for row in by_class] == np.bincount(labels, minlength=3).tolist()
    assert found.loss == pytest.approx(-np.log(probabilities[np.arange(len(labels)), labels]).mean(), rel=1e-4)
    np.testing.assert_array_equal(
        confusion_counts(probabilities, labels), sklearn_metrics.confusion_matrix(labels, predicted, labels=[0, 1, 2])
    )


@given(answers(), st.integers(2, 20))
def test_reliability_bins_hold_each_row_once(given_answers: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    probabilities, labels = given_answers
    found = reliability(probabilities, labels, bins)
    assert found.count.sum() == len(labels)
    error = np.sum(found.count * np.abs(found.confidence - found.accuracy)) / len(labels)
    assert calibration_error(probabilities, labels, bins) == pytest.approx(error, abs=1e-5)


def test_the_calibration_error_of_a_known_case() -> None:
    probabilities = np.array([[0.8, 0.2, 0.0]] * 10, dtype=np.float32)
    labels = np.array([0] * 5 + [1] * 5)
    assert calibration_error(probabilities, labels, 10) == pytest.approx(0.3)


def test_a_certain_and_wrong_answer_has_a_finite_loss() -> None:
    probabilities = np.array([[1.0, 0.0, 0.0]], dtype=np.float32)
    assert np.isfinite(measure(probabilities, np.array([1]), 10).loss)


def test_mistakes_are_ordered_by_confidence() -> None:
    probabilities = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.7, 0.3, 0], [0.1, 0.9, 0]], dtype=np.float32)
    labels = np.array([0, 1, 1, 0])
    assert confident_mistakes(probabilities, labels, 2).tolist() == [3, 2]
