import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline.artifacts import PAD_ID
from relu_pipeline.models.text_mlp import TextMLP, log_odds, mean_and_max, mean_and_max_of_bags

torch.manual_seed(0)
SIZES = {"num_classes": 3, "vocab_size": 20, "embedding_dim": 4, "hidden_dims": [8, 5], "dropout": 0.5}
NETWORK = TextMLP(**SIZES).eval()
WEIGHT = NETWORK.embedding.weight.detach()
TOKENS = st.lists(st.integers(1, 19), min_size=1, max_size=12)


@given(tokens=TOKENS, padding=st.integers(0, 9))
def test_padding_changes_nothing(tokens: list[int], padding: int) -> None:
    bare = NETWORK(torch.tensor([tokens]))
    padded = NETWORK(torch.tensor([tokens + [PAD_ID] * padding]))
    torch.testing.assert_close(padded, bare)


@given(tokens=TOKENS)
def test_pooling_is_the_mean_and_the_maximum_of_the_embeddings(tokens: list[int]) -> None:
    embeddings = WEIGHT[torch.tensor(tokens)]
    expected = torch.cat((embeddings.mean(dim=0), embeddings.max(dim=0).values))
    torch.testing.assert_close(mean_and_max(torch.tensor([[*tokens, PAD_ID]]), WEIGHT)[0], expected)


ROWS = st.lists(st.lists(st.integers(0, 19), min_size=6, max_size=6), min_size=1, max_size=5)


@given(rows=ROWS)
def test_training_pools_as_serving_does_with_the_same_gradients(rows: list[list[int]]) -> None:
    token_ids, gradients = torch.tensor(rows), []
    for pool in (mean_and_max, mean_and_max_of_bags):
        weight = torch.randn(20, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
        pooled = pool(token_ids, weight)
        (pooled * torch.arange(pooled.numel()).view_as(pooled)).sum().backward()
        gradients.append((pooled, weight.grad))
    for served, trained in zip(*gradients, strict=True):
        torch.testing.assert_close(trained, served)


def test_a_text_without_tokens_pools_to_zeros() -> None:
    for pool in (mean_and_max, mean_and_max_of_bags):
        assert torch.equal(pool(torch.tensor([[PAD_ID, PAD_ID]]), WEIGHT), torch.zeros(1, 8))


def test_it_starts_from_the_log_odds_of_each_word() -> None:
    # Word 5 is in each text of class 1 and in no other; word 6 is everywhere.
    tokens, labels = torch.tensor([5, 6, 5, 6, 6, 6]), torch.tensor([1, 1, 1, 1, 0, 2])
    network = TextMLP(**SIZES)
    chunks = list(zip(tokens.split(4), labels.split(4), strict=True))
    network.fit_input(chunks)
    odds, weight = log_odds(chunks, 20, 3), network.embedding.weight
    torch.testing.assert_close(weight[1:, :3], 0.5 * odds[1:])
    torch.testing.assert_close(odds.sum(dim=1), torch.zeros(20), atol=1e-5, rtol=0)
    assert weight[5, 1] > 0 > max(weight[5, 0], weight[5, 2])
    assert not weight[PAD_ID].any()


def operators(output: torch.Tensor) -> set[str]:
    """Return the names of autograd's functions from which `output` was computed."""
    names, nodes = set(), [output.grad_fn]
    while nodes:
        node = nodes.pop()
        names.add(node.name())
        nodes += [before for before, _ in node.next_functions if before]
    return names


@pytest.mark.parametrize("is_training", [True, False])
def test_the_fast_operator_that_onnx_does_not_have_is_used_in_training_alone(is_training: bool) -> None:
    logits = TextMLP(**SIZES).train(is_training)(torch.tensor([[1, 2, PAD_ID], [3, 4, 5]]))
    assert any("EmbeddingBag" in name for name in operators(logits)) == is_training
