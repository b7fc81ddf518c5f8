"""Training of one cell of the study: an MLP, Adam, and measurements after each epoch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relu_pipeline.config import StudyConfig
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.randomness import generator
from relu_pipeline.errors import TrainingError
from relu_pipeline.health.gradients import GradientNorms
from relu_pipeline.health.probe import probe
from relu_pipeline.health.record import Row, epoch_rows
from relu_pipeline.models.mlp import MLP
from relu_pipeline.study.cells import Cell, Initialisation

SMALL_STD = 0.01


@dataclass(frozen=True)
class CellResult:
    """Result of a cell: `epochs` has loss and accuracy by epoch, `layers` the health by epoch and layer."""

    cell: Cell
    epochs: list[Row]
    layers: list[Row]

    @property
    def accuracy(self) -> float:
        """Return the validation accuracy after the last epoch."""
        return float(self.epochs[-1]["val_accuracy"])

    def last(self, measure: str) -> list[Any]:
        """Return a measure of each activation layer after the last epoch, in their order."""
        rows = [row for row in self.layers if measure in row]
        return [row[measure] for row in rows if row["epoch"] == rows[-1]["epoch"]]

    @property
    def dead_share(self) -> float:
        """Return the fraction of hidden units that are dead after the last epoch."""
        return float(sum(self.last("dead_units")) / sum(self.last("units")))

    @property
    def gradient_norms(self) -> list[float]:
        """Return the mean gradient norm in the first epoch of each layer, from the first to the head."""
        return [row["gradient_norm"] for row in self.layers if row["epoch"] == 0]


def train_cell(cell: Cell, config: StudyConfig, train: ImageSplit, val: ImageSplit) -> tuple[MLP, CellResult]:
    """Train the network of a cell, and return it with its result.

    The data order depends only on seed and epoch: it is the same for all cells of a seed. Raises TrainingError if the
    loss is not finite.
    """
    network = build(cell, train)
    optimiser = torch.optim.Adam(network.parameters(), lr=cell.learning_rate)
    gradients = GradientNorms(network)
    epochs, layers = [], []
    for epoch in range(config.epochs):
        gradients.clear()
        order = torch.from_numpy(generator(cell.seed, "study", epoch).permutation(len(train)))
        loss = train_epoch(network, optimiser, gradients, train, torch.split(order, config.batch_size))
        if not math.isfinite(loss):
            raise TrainingError(f"study: the loss is {loss} in {cell.name}; lower study.learning_rates in params.yaml")
        epochs.append({"epoch": epoch, "train_loss": loss, "val_accuracy": accuracy(network, val)})
        layers += epoch_rows(epoch, probe(network, val), gradients.means())
    return network, CellResult(cell, epochs, layers)


def build(cell: Cell, train: ImageSplit) -> MLP:
    torch.manual_seed(cell.seed)
    num_classes = int(train.labels.max()) + 1
    network = MLP(num_classes, train.images_BHWC.shape[1:], [cell.width] * cell.depth, cell.activation)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            initialise(module, cell.initialisation)
    network.fit_input(train.images_BHWC)
    return network


def initialise(layer: nn.Linear, initialisation: Initialisation) -> None:
    nn.init.zeros_(layer.bias)
    if initialisation == "he":
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    elif initialisation == "glorot":
        nn.init.xavier_normal_(layer.weight)
    else:
        nn.init.normal_(layer.weight, std=SMALL_STD)


def train_epoch(
    network: MLP,
    optimiser: torch.optim.Optimizer,
    gradients: GradientNorms,
    train: ImageSplit,
    batches: Sequence[Tensor],
) -> float:
    """Train for one epoch and return the mean loss."""
    network.train()
    losses = []
    for rows in batches:
        loss = F.cross_entropy(network(train.gather(rows)), train.labels[rows])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        gradients.add()
        optimiser.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def accuracy(network: MLP, val: ImageSplit) -> float:
    network.eval()
    right_N: Tensor = network(val.images_BHWC).argmax(dim=1) == val.labels
    return right_N.float().mean().item()
