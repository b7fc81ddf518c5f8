"""Dense layer, ReLU and softmax cross-entropy, forward and backward.

Shapes: N examples, D inputs, H outputs, C classes.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from relu_pipeline.activations import Floats, relu, relu_derivative


@dataclass
class Dense:
    """Dense layer `x @ weight + bias` with the gradients of its last backward pass; `weight` `[D, H]`, `bias` `[H]`."""

    weight: Floats
    bias: Floats
    weight_gradient: Floats = field(init=False)
    bias_gradient: Floats = field(init=False)

    def forward(self, x_ND: Floats) -> Floats:
        self.x_ND = x_ND
        return x_ND @ self.weight + self.bias

    def backward(self, gradient_NH: Floats) -> Floats:
        """Return the gradient of the loss with respect to the inputs, `[N, D]`, given that of the outputs."""
        self.weight_gradient = self.x_ND.T @ gradient_NH
        self.bias_gradient = gradient_NH.sum(axis=0)
        return gradient_NH @ self.weight.T

    def descend(self, learning_rate: float) -> None:
        self.weight = self.weight - learning_rate * self.weight_gradient
        self.bias = self.bias - learning_rate * self.bias_gradient


class ReLU:
    def forward(self, x: Floats) -> Floats:
        self.x = x
        return relu(x)

    def backward(self, gradient: Floats) -> Floats:
        return gradient * relu_derivative(self.x)


def he_dense(num_inputs: int, num_outputs: int, rng: np.random.Generator) -> Dense:
    """Return a layer with weights of variance `2 / num_inputs` (He et al. 2015, arXiv:1502.01852)."""
    weight = rng.normal(scale=np.sqrt(2 / num_inputs), size=(num_inputs, num_outputs))
    return Dense(weight, np.zeros(num_outputs))


def softmax(logits_NC: Floats) -> Floats:
    powers = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    probabilities_NC: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities_NC


def cross_entropy(logits_NC: Floats, labels_N: NDArray[np.integer]) -> tuple[float, Floats]:
    """Return the mean loss over the examples in nats, and its gradient with respect to the logits."""
    rows = np.arange(len(labels_N))
    shifted = logits_NC - logits_NC.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = softmax(logits_NC)
    gradient[rows, labels_N] -= 1
    return float(-log_probabilities[rows, labels_N].mean()), gradient / len(labels_N)
