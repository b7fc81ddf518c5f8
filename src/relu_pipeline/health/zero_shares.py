"""Inputs of drift detection: the fraction of zeros in each ReLU layer's output for an example, and the confidence."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from relu_pipeline.activations import CATALOGUE
from relu_pipeline.artifacts import ColumnBaseline
from relu_pipeline.data.batches import OrderedBatches, PreparedSplit
from relu_pipeline.health.hooks import watching

BATCH_SIZE = 500
QUANTILES = np.arange(11) / 10
CONFIDENCE_DECIMALS = 4
GIVE_ZEROS = tuple(activation.module for activation in CATALOGUE.values() if activation.gives_zeros)


@dataclass(frozen=True)
class Answers:
    """Outputs of a network for N examples.

    `probabilities` `[N, C]` and `zero_shares` `[N, R]` are float32; `layers` has the names of the R ReLU layers.
    """

    layers: list[str]
    probabilities: NDArray[np.float32]
    zero_shares: NDArray[np.float32]


@torch.no_grad()
def answer(network: nn.Module, split: PreparedSplit) -> Answers:
    """Return the outputs for all examples, computed on the CPU in float32."""
    network.eval()
    progress = tqdm(OrderedBatches(split, BATCH_SIZE), "zero fractions", unit=" batches", leave=False, disable=None)
    batches = [with_zero_shares(network, inputs) for inputs, _ in progress]
    return Answers(
        layers=batches[0][1],
        probabilities=torch.cat([torch.softmax(logits, dim=1) for logits, _, _ in batches]).numpy(),
        zero_shares=torch.cat([shares for _, _, shares in batches]).numpy(),
    )


def with_zero_shares(network: nn.Module, inputs: Tensor) -> tuple[Tensor, list[str], Tensor]:
    """Return the logits, the names of the R layers of ReLU or ReLU6, and their zero fractions `[B, R]`.

    Layers are in computation order. The fraction is one minus the number of active outputs divided by a constant, so
    that pruning channels that are never active does not change it.
    """
    layers: list[str] = []
    active: list[Tensor] = []
    sizes: list[int] = []

    def see(layer: str, activation: nn.Module, output: Tensor) -> None:
        if isinstance(activation, GIVE_ZEROS):
            active_B1, size = count_active(output)
            layers.append(layer)
            active.append(active_B1)
            sizes.append(size)

    with watching(network, see):
        logits = network(inputs)
    if not layers:
        return logits, layers, logits[:, :0]
    return logits, layers, 1 - torch.cat(active, dim=1) / torch.tensor(sizes, dtype=logits.dtype)


def count_active(output: Tensor) -> tuple[Tensor, int]:
    """Return the numbers of non-zero outputs of a ReLU, `[B, 1]`, and of all outputs.

    For `[B, C, H, W]`, both are divided by H * W.
    """
    active = torch.sign(output)
    if active.dim() == 4:
        # Pooling keeps the blocked layout of ONNX Runtime's convolutions; a sum over H and W would convert it.
        pooled_BC11 = F.avg_pool2d(active, active.shape[2:])
        return pooled_BC11.sum(dim=(1, 2)), pooled_BC11.shape[1]
    active_BU = active.flatten(1)
    return active_BU.sum(dim=1, keepdim=True), active_BU.shape[1]


def baseline(layers: list[str], shares_NR: NDArray[np.float32]) -> dict[str, ColumnBaseline]:
    """Return the distribution of the zero fractions `[N, R]` of each layer."""
    return {layer: column_baseline(shares_N) for layer, shares_N in zip(layers, shares_NR.T, strict=True)}


def confidence(probabilities_NC: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest probability of each example, `[N]`."""
    largest_N: NDArray[np.float32] = probabilities_NC.max(axis=1)
    return largest_N


def confidence_baseline(probabilities_NC: NDArray[np.float32]) -> ColumnBaseline:
    """Return the distribution of the rounded confidence.

    Without rounding, bin edges could lie between neighbouring float32 numbers close to 1, and the bin of a value would
    depend on the processor.
    """
    return column_baseline(confidence(probabilities_NC).round(CONFIDENCE_DECIMALS))


def column_baseline(values_N: NDArray[np.float32]) -> ColumnBaseline:
    values = values_N.astype(np.float64)
    quantiles = np.quantile(values, QUANTILES, method="inverted_cdf")
    edges = bin_edges(values, quantiles[1:-1])
    rows = np.bincount(np.searchsorted(edges, values))  # no bin is empty
    return ColumnBaseline(
        rows=len(values),
        mean=float(values.mean()),
        std=float(values.std()),
        quantiles=quantiles.tolist(),
        edges=edges.tolist(),
        bin_shares=(rows / len(values)).tolist(),
    )


def bin_edges(values: NDArray[np.float64], quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return edges halfway from each quantile to the next larger value, so that no value is on an edge or bin empty.

    Equal quantiles give one edge, and a quantile at the largest value gives none.
    """
    distinct = np.unique(values)
    above = np.unique(np.searchsorted(distinct, quantiles, side="right"))
    above = above[above < len(distinct)]
    return (distinct[above - 1] + distinct[above]) / 2
