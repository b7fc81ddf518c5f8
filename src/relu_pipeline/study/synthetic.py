"""Training curves of a small ReLU network: loss, accuracy and gradient norm of each epoch.

A 64-32-1 MLP is trained on 1,000 examples of 20 features in two classes (scikit-learn's `make_classification`), and
compared with the hand-written gradient descent of `reference` on the same examples.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.datasets import make_classification
from torch import Tensor, nn

from relu_pipeline.data.randomness import generator
from relu_pipeline.health.record import Row
from relu_pipeline.models.mlp import dense_layers
from relu_pipeline.reference.mlp import ReferenceMLP

ROWS, FEATURES, TRAIN_ROWS = 1000, 20, 800
HIDDEN_DIMS = (64, 32)
EPOCHS, BATCH_SIZE = 100, 32
LEARNING_RATE = 0.001
REFERENCE_LEARNING_RATE = 0.1


def analyse(seed: int) -> list[Row]:
    """Return a row per epoch; `reference_loss` is the loss of the hand-written descent, one full-batch step per row."""
    features, labels = make_classification(ROWS, FEATURES, n_informative=10, random_state=seed)
    rows = _train(torch.from_numpy(features).float(), torch.from_numpy(labels).float(), seed)
    for row, loss in zip(rows, _reference_losses(features[:TRAIN_ROWS], labels[:TRAIN_ROWS], seed), strict=True):
        row["reference_loss"] = loss
    return rows


def _train(features: Tensor, labels: Tensor, seed: int) -> list[Row]:
    torch.manual_seed(seed)
    network = nn.Sequential(dense_layers([FEATURES, *HIDDEN_DIMS], "relu"), nn.Linear(HIDDEN_DIMS[-1], 1))
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    rows: list[Row] = []
    for epoch in range(EPOCHS):
        order = torch.from_numpy(generator(seed, "synthetic", epoch).permutation(TRAIN_ROWS))
        steps = [_step(network, optimiser, features[part], labels[part]) for part in torch.split(order, BATCH_SIZE)]
        loss, norm = (sum(values) / len(values) for values in zip(*steps, strict=True))
        with torch.no_grad():
            right = (network(features).squeeze(1) > 0) == labels.bool()
        rows.append(
            {
                "epoch": epoch,
                "train_loss": loss,
                "gradient_norm": norm,
                "train_accuracy": right[:TRAIN_ROWS].float().mean().item(),
                "val_accuracy": right[TRAIN_ROWS:].float().mean().item(),
            }
        )
    return rows


def _step(
    network: nn.Module, optimiser: torch.optim.Optimizer, features: Tensor, labels: Tensor
) -> tuple[float, float]:
    """Take an optimiser step; return the loss and the gradient norm."""
    loss = F.binary_cross_entropy_with_logits(network(features).squeeze(1), labels)
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    norm = torch.nn.utils.get_total_norm(
        [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    )
    optimiser.step()
    return loss.item(), norm.item()


def _reference_losses(features: NDArray[np.float64], labels: NDArray[np.int64], seed: int) -> list[float]:
    return ReferenceMLP(FEATURES, 2, seed).fit(features, labels, REFERENCE_LEARNING_RATE, EPOCHS)
