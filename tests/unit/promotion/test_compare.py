import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom

from relu_pipeline.promotion.behaviour import VARIANTS
from relu_pipeline.promotion.compare import compare
from relu_pipeline.tasks.catalogue import TASKS

ROWS = st.integers(1, 60)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), count=ROWS)
def test_a_comparison_counts_pairs_and_turns_around_with_its_sides(data: st.DataObject, count: int) -> None:
    candidate, champion = (data.draw(arrays(np.bool_, count)) for _ in range(2))
    there, back = compare(candidate, champion), compare(champion, candidate)
    assert there.difference == pytest.approx((there.gained - there.lost) / count)
    assert (there.gained, there.lost, there.p_value) == (back.lost, back.gained, back.p_value)
    assert there.interval[0] - 1e-9 <= there.difference <= there.interval[1] + 1e-9
    assert 0 < there.p_value <= 1


def test_models_can_be_compared_on_one_example() -> None:
    assert compare(np.array([True]), np.array([False])).interval == (1.0, 1.0)


def test_mcnemars_p_value_is_that_of_the_binomial_distribution() -> None:
    candidate, champion = np.ones(20, dtype=bool), np.ones(20, dtype=bool)
    champion[:8], candidate[8:10] = False, False  # 8 gained, 2 lost
    found = compare(candidate, champion)
    assert (found.gained, found.lost) == (8, 2)
    assert found.p_value == pytest.approx(2 * binom.cdf(2, 10, 0.5))


def test_the_interval_holds_the_true_difference_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        low, high = compare(rng.random(400) < 0.8, rng.random(400) < 0.75).interval
        held += low <= 0.05 <= high
    assert 180 <= held <= 199


@pytest.mark.parametrize("task", ["image", "text"])
def test_variants_are_the_same_rows_in_another_form(prepared, task: str) -> None:
    test = TASKS[task].load(prepared / task, "test")
    base, variants = VARIANTS[task](test, prepared / task)
    assert len(variants) == 2
    for rows in (base, *variants.values()):
        assert torch.equal(rows.labels, test.labels)
        rows.gather(torch.arange(len(rows)))
    if task == "text":
        capitals = variants["in capitals"]
        assert torch.equal(capitals.tokens, base.tokens)  # the tokenizer knows lower case alone
        bare = variants["without punctuation"]
        assert len(bare.tokens) < len(base.tokens)
    else:
        assert torch.equal(variants["mirrored"].images_BHWC.flip(2), test.images_BHWC)
        assert torch.equal(variants["shifted"].images_BHWC[:, 2:, 2:], test.images_BHWC[:, :-2, :-2])


def test_a_candidate_that_loses_nothing_has_an_interval_around_its_gain() -> None:
    found = compare(np.arange(100) < 60, np.arange(100) < 50)
    assert (found.gained, found.lost) == (10, 0)
    low, high = found.interval
    assert 0 < low < 0.1 < high < 0.2
