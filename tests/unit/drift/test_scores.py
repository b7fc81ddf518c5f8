"""Scores of single rows, fitted to a validation split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from relu_pipeline.drift.detection import auroc
from relu_pipeline.drift.scores import combined_score, max_softmax_score, zero_share_score
from relu_pipeline.health.zero_shares import Answers


def answers(rng: np.random.Generator, rows: int, mean: float = 0.5, most: float = 1.0) -> Answers:
    """Two correlated layers, whose shares differ by class, and two classes."""
    top, first = rng.uniform(0.5, most, size=rows), rng.integers(2, size=rows) == 0
    probabilities = np.where(first[:, None], np.stack((top, 1 - top), axis=1), np.stack((1 - top, top), axis=1))
    common = rng.normal(size=(rows, 1)) + 3 * first[:, None]
    shares = mean + 0.05 * common + 0.01 * rng.normal(size=(rows, 2))
    return Answers(["a", "b"], probabilities.astype(np.float32), shares.astype(np.float32))


def of_shares(*shares: tuple[float, float]) -> Answers:
    top = np.array([[0.9, 0.1]] * len(shares), dtype=np.float32)
    return Answers(["a", "b"], top, np.array(shares, dtype=np.float32))


def test_zero_shares_that_break_the_layers_correlation_are_less_usual(rng: np.random.Generator) -> None:
    together, apart = zero_share_score(answers(rng, 4000))(of_shares((0.6, 0.6), (0.6, 0.5)))
    assert apart > 10 * together


def test_a_less_certain_answer_is_less_usual_to_maximum_softmax(rng: np.random.Generator) -> None:
    val = answers(rng, 100)
    np.testing.assert_allclose(max_softmax_score(val), 1 - val.probabilities.max(axis=1))


def test_the_combination_sees_what_one_of_them_sees_and_more_where_both_do(rng: np.random.Generator) -> None:
    val, usual = answers(rng, 4000), answers(rng, 4000)
    score = combined_score(val)
    for shifted, expected in ((answers(rng, 4000, mean=0.9), 0.99), (answers(rng, 4000, most=0.6), 0.75)):
        assert auroc(score(usual), score(shifted)) > expected
    both = answers(rng, 4000, mean=0.6, most=0.75)
    alone = [auroc(one(usual), one(both)) for one in (zero_share_score(val), max_softmax_score)]
    assert auroc(score(usual), score(both)) > max(alone) > 0.6
    assert auroc(score(usual), score(answers(rng, 4000))) == pytest.approx(0.5, abs=0.02)


def test_shares_of_another_class_are_less_usual_to_the_combination(rng: np.random.Generator) -> None:
    """The first class has its shares around 0.65, the second around 0.5."""
    own, other = combined_score(answers(rng, 4000))(of_shares((0.65, 0.65), (0.5, 0.5)))
    assert other > own + 2


@given(st.lists(st.floats(-1, 2, width=32), min_size=1, max_size=20))
def test_a_score_is_finite_however_far_a_row_lies(shares: list[float]) -> None:
    score = combined_score(answers(np.random.default_rng(0), 200))
    assert np.isfinite(score(of_shares(*((share, 100 * share) for share in shares)))).all()


def test_without_relu_layers_the_combination_orders_rows_as_maximum_softmax_does(rng: np.random.Generator) -> None:
    val, rows = (
        Answers([], found.probabilities, found.zero_shares[:, :0]) for found in (answers(rng, 300), answers(rng, 300))
    )
    found, alone = combined_score(val)(rows), max_softmax_score(rows)
    assert (np.diff(found[np.argsort(alone)]) >= 0).all()
    assert np.ptp(found) > 1
    assert (zero_share_score(val)(rows) == 0).all()


def test_a_layer_that_never_varies_and_a_class_that_is_never_predicted_do_no_harm(rng: np.random.Generator) -> None:
    val = answers(rng, 300)
    shares = np.column_stack((val.zero_shares, np.full(300, 0.5, dtype=np.float32)))
    probabilities = np.column_stack((val.probabilities, np.zeros(300, dtype=np.float32)))
    found = combined_score(Answers(["a", "b", "c"], probabilities, shares))
    rare = Answers(["a", "b", "c"], np.eye(3, dtype=np.float32)[[2]], shares[:1])
    assert np.isfinite(found(rare)).all()
    np.testing.assert_allclose(
        found(Answers(["a", "b", "c"], probabilities, shares)), combined_score(val)(val), rtol=1e-6
    )


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_zero_shares_enter_the_combination_by_the_tail_of_chi_squared(layers: int, rng: np.random.Generator) -> None:
    """All answers are of one class and equally certain. The approximation is good up to a tail of 2 %."""
    shares = rng.normal(0.5, 0.05, size=(2000, layers)).astype(np.float32)
    probabilities = np.tile(np.array([0.9, 0.1], dtype=np.float32), (2000, 1))
    val = Answers([f"layer {number}" for number in range(layers)], probabilities, shares)
    tails = chi2.logsf(zero_share_score(val)(val), layers)
    usual = tails > -4
    np.testing.assert_allclose(combined_score(val)(val)[usual], -tails[usual], rtol=0, atol=0.1)


def test_of_two_answers_the_more_certain_one_is_more_usual_to_the_combination() -> None:
    top = np.linspace(0.55, 0.95, 9, dtype=np.float32)
    rows = Answers([], np.stack((top, 1 - top), axis=1), np.zeros((9, 0), dtype=np.float32))
    assert (np.diff(combined_score(rows)(rows)) < 0).all()
