"""A network with one hidden ReLU layer, trained by hand-written gradient descent."""

import numpy as np
from numpy.typing import NDArray

from relu_pipeline.activations import Floats
from relu_pipeline.reference.layers import ReLU, cross_entropy, he_dense

HIDDEN_UNITS = 64


class ReferenceMLP:
    """MLP that maps float `[N, D]` to logits `[N, C]`."""

    def __init__(self, num_inputs: int, num_classes: int, seed: int, hidden_units: int = HIDDEN_UNITS) -> None:
        rng = np.random.default_rng(seed)
        self.hidden = he_dense(num_inputs, hidden_units, rng)
        self.relu = ReLU()
        self.head = he_dense(hidden_units, num_classes, rng)

    def forward(self, x_ND: Floats) -> Floats:
        return self.head.forward(self.relu.forward(self.hidden.forward(x_ND)))

    def gradients(self, x_ND: Floats, labels_N: NDArray[np.integer]) -> float:
        """Compute the gradients of both layers and return the loss."""
        loss, gradient_NC = cross_entropy(self.forward(x_ND), labels_N)
        self.hidden.backward(self.relu.backward(self.head.backward(gradient_NC)))
        return loss

    def fit(self, x_ND: Floats, labels_N: NDArray[np.integer], learning_rate: float, num_steps: int) -> list[float]:
        """Run full-batch gradient descent and return the loss before each step."""
        losses = []
        for _ in range(num_steps):
            losses.append(self.gradients(x_ND, labels_N))
            for layer in (self.hidden, self.head):
                layer.descend(learning_rate)
        return losses
