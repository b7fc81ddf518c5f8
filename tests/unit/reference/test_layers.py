"""The hand-written backward passes against finite differences and against PyTorch's autograd."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline.reference.layers import Dense, ReLU, cross_entropy, softmax
from relu_pipeline.reference.mlp import ReferenceMLP

EPS = 1e-6


def numeric_gradient(function, values: np.ndarray) -> np.ndarray:
    """Central differences of a scalar `function` by each of `values`."""
    gradient = np.zeros_like(values)
    for index in np.ndindex(values.shape):
        above, below = values.copy(), values.copy()
        above[index] += EPS
        below[index] -= EPS
        gradient[index] = (function(above) - function(below)) / (2 * EPS)
    return gradient


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 5), inputs=st.integers(1, 6), outputs=st.integers(1, 6))
def test_a_dense_layer_has_the_gradients_of_finite_differences(seed: int, rows: int, inputs: int, outputs: int) -> None:
    rng = np.random.default_rng(seed)
    x, weight, bias = (rng.normal(size=size) for size in ((rows, inputs), (inputs, outputs), outputs))
    by_outputs = rng.normal(size=(rows, outputs))
    layer = Dense(weight, bias)
    layer.forward(x)
    by_inputs = layer.backward(by_outputs)
    loss = lambda x, weight, bias: float((Dense(weight, bias).forward(x) * by_outputs).sum())  # noqa: E731
    np.testing.assert_allclose(by_inputs, numeric_gradient(lambda v: loss(v, weight, bias), x), atol=1e-7)
    np.testing.assert_allclose(layer.weight_gradient, numeric_gradient(lambda v: loss(x, v, bias), weight), atol=1e-7)
    np.testing.assert_allclose(layer.bias_gradient, numeric_gradient(lambda v: loss(x, weight, v), bias), atol=1e-7)


def test_relus_backward_pass_lets_through_where_the_input_was_above_0() -> None:
    layer = ReLU()
    layer.forward(np.array([-1.0, 0.0, 2.0]))
    assert layer.backward(np.array([5.0, 6.0, 7.0])).tolist() == [0.0, 0.0, 7.0]


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_softmax_and_its_loss_do_not_overflow(shift: float) -> None:
    logits = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]) + shift
    labels = np.array([2, 0])
    with np.errstate(all="raise"):
        loss, gradient = cross_entropy(logits, labels)
    expected = torch.from_numpy(logits).requires_grad_()
    torch_loss = torch.nn.functional.cross_entropy(expected, torch.from_numpy(labels))
    torch_loss.backward()
    assert loss == pytest.approx(torch_loss.item())
    np.testing.assert_allclose(gradient, expected.grad.numpy(), atol=1e-12)
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1)


@given(seed=st.integers(0, 10_000))
def test_the_hand_written_mlp_has_pytorchs_gradients(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(20, 7)), rng.integers(3, size=20)
    mlp = ReferenceMLP(num_inputs=7, num_classes=3, seed=seed)
    mlp.gradients(x, labels)
    network = torch.nn.Sequential(torch.nn.Linear(7, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3)).double()
    for ours, theirs in ((mlp.hidden, network[0]), (mlp.head, network[2])):
        theirs.weight.data, theirs.bias.data = torch.from_numpy(ours.weight.T.copy()), torch.from_numpy(ours.bias)
    torch.nn.functional.cross_entropy(network(torch.from_numpy(x)), torch.from_numpy(labels)).backward()
    for ours, theirs in ((mlp.hidden, network[0]), (mlp.head, network[2])):
        np.testing.assert_allclose(ours.weight_gradient, theirs.weight.grad.numpy().T, atol=1e-6)
        np.testing.assert_allclose(ours.bias_gradient, theirs.bias.grad.numpy(), atol=1e-6)


def test_the_hand_written_mlp_learns(rng: np.random.Generator) -> None:
    x = rng.normal(size=(300, 10))
    labels = (x[:, 0] * x[:, 1] > 0).astype(int)
    mlp = ReferenceMLP(num_inputs=10, num_classes=2, seed=0)
    losses = mlp.fit(x, labels, learning_rate=0.5, num_steps=300)
    assert losses[-1] < 0.5 * losses[0]
    assert (mlp.forward(x).argmax(axis=1) == labels).mean() > 0.9
