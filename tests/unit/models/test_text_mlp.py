import torch
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline.artifacts import PAD_ID
from relu_pipeline.models.text_mlp import PooledMLP, TextMLP

torch.manual_seed(0)
SIZES = {"num_classes": 3, "vocab_size": 20, "embedding_dim": 4, "hidden_dims": [8, 5], "dropout": 0.5}
NETWORK = PooledMLP(**SIZES).eval()
ENSEMBLE = TextMLP(**SIZES, num_members=3).eval()
TOKENS = st.lists(st.integers(1, 19), min_size=1, max_size=12)


@given(tokens=TOKENS, padding=st.integers(0, 9))
def test_padding_changes_nothing(tokens: list[int], padding: int) -> None:
    bare = NETWORK(torch.tensor([tokens]))
    padded = NETWORK(torch.tensor([tokens + [PAD_ID] * padding]))
    torch.testing.assert_close(padded, bare)


@given(tokens=TOKENS)
def test_pooling_is_the_mean_and_the_maximum_of_the_embeddings(tokens: list[int]) -> None:
    embeddings = NETWORK.embedding.weight[torch.tensor(tokens)]
    expected = torch.cat((embeddings.mean(dim=0), embeddings.max(dim=0).values))
    torch.testing.assert_close(NETWORK.pool(torch.tensor([[*tokens, PAD_ID]]))[0], expected)


def test_a_text_without_tokens_pools_to_zeros() -> None:
    assert torch.equal(NETWORK.pool(torch.tensor([[PAD_ID, PAD_ID]])), torch.zeros(1, 8))


def test_padding_gets_no_gradient() -> None:
    NETWORK.pool(torch.tensor([[3, PAD_ID], [4, 5]])).sum().backward()
    gradient = NETWORK.embedding.weight.grad
    assert gradient is not None
    assert set(gradient.abs().sum(dim=1).nonzero().flatten().tolist()) == {3, 4, 5}


@given(tokens=TOKENS)
def test_an_ensemble_answers_the_mean_of_its_members_probabilities(tokens: list[int]) -> None:
    ids = torch.tensor([tokens])
    expected = torch.stack([member(ids).softmax(dim=1) for member in ENSEMBLE.members]).mean(dim=0)
    torch.testing.assert_close(ENSEMBLE(ids).softmax(dim=1), expected)


def test_in_training_each_member_answers_alone() -> None:
    network = TextMLP(**SIZES, num_members=2).train()
    assert network(torch.tensor([[1, 2], [3, 0]])).shape == (2, 2, 3)
