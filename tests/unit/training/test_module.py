import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from relu_pipeline.training.module import balanced_class_weights, cross_entropy

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60)


@given(LABELS)
def test_balanced_weights_are_those_of_scikit_learn_and_0_for_a_class_without_rows(labels: list[int]) -> None:
    weights = balanced_class_weights(torch.tensor(labels), 5)
    classes = np.unique(labels)
    expected = compute_class_weight("balanced", classes=classes, y=np.array(labels))
    assert weights[classes].tolist() == pytest.approx(expected.tolist())
    assert weights.sum().item() == pytest.approx(expected.sum())
    assert weights[labels].mean().item() == pytest.approx(1)


@given(LABELS, st.integers(0, 1000))
def test_without_smoothing_the_loss_is_pytorchs_weighted_cross_entropy(labels: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, weights = torch.randn(len(labels), 5, generator=generator), torch.rand(5, generator=generator) + 0.1
    expected = F.cross_entropy(logits, torch.tensor(labels), weight=weights)
    torch.testing.assert_close(cross_entropy(logits, torch.tensor(labels), weights, 0.0), expected)


@given(LABELS, st.floats(0, 0.3), st.integers(0, 1000))
def test_equal_weights_change_nothing(labels: list[int], smoothing: float, seed: int) -> None:
    logits = torch.randn(len(labels), 5, generator=torch.Generator().manual_seed(seed))
    plain = cross_entropy(logits, torch.tensor(labels), None, smoothing)
    torch.testing.assert_close(cross_entropy(logits, torch.tensor(labels), torch.full((5,), 3.0), smoothing), plain)


@given(st.lists(st.integers(1, 500), min_size=5, max_size=5), st.floats(0, 0.3))
def test_smoothing_draws_no_row_of_a_common_class_to_a_rare_one(counts: list[int], smoothing: float) -> None:
    assume(max(counts) > min(counts))
    weights = balanced_class_weights(torch.arange(5).repeat_interleave(torch.tensor(counts)), 5)
    common = torch.tensor([int(np.argmax(counts))])
    logits = torch.zeros(1, 5, requires_grad=True)
    cross_entropy(logits, common, weights, smoothing).backward()
    assert logits.grad.argmin().item() == common.item()


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.floats(0, 0.3), st.integers(0, 1000))
def test_the_mean_loss_of_processes_is_that_of_the_whole_batch(labels: list[int], smoothing: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels_B = torch.tensor(labels[: len(labels) // 2 * 2])
    logits, weights = torch.randn(len(labels_B), 5, generator=generator), torch.rand(5, generator=generator) + 0.1
    shares = [slice(rank, None, 2) for rank in range(2)]
    mean_weight = torch.stack([weights[labels_B[share]].sum() for share in shares]).mean()
    losses = [
        cross_entropy(logits[share], labels_B[share], weights, smoothing, lambda _: mean_weight) for share in shares
    ]
    torch.testing.assert_close(torch.stack(losses).mean(), cross_entropy(logits, labels_B, weights, smoothing))
