"""Statistics of the activations of each layer over a whole split, computed in one pass."""

from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any, Self

import torch
from torch import Tensor, nn

from relu_pipeline.activations import CATALOGUE, Activation
from relu_pipeline.data.batches import OrderedBatches, PreparedSplit
from relu_pipeline.health.hooks import watching
from relu_pipeline.processes import of_all_processes

BATCH_SIZE = 500
# On a CPU, temporaries of this size fit into its cache: three times as fast as whole batches. On a GPU, float32 counts
# are exact up to this size.
CHUNK_VALUES = {"cpu": 1 << 19, "cuda": 1 << 24}
SATURATION_MARGIN = 0.05  # distance from either bound, as a fraction of the range of outputs
BF16_CODES = 1 << 15  # number of codes of non-negative bfloat16 numbers


@dataclass(frozen=True)
class LayerHealth:
    """Activation statistics of one layer.

    A unit is a channel or a feature. It is active where its input is above 0, and dead if it is never active. `p99` is
    accurate to 0.4 %, and 0 if it would be negative. `saturated_share` is 0 for an unbounded function.
    """

    units: int
    zero_share: float
    dead_units: int
    always_active_units: int
    mean: float
    p99: float
    max: float
    saturated_share: float

    @property
    def dead_share(self) -> float:
        return self.dead_units / self.units


@torch.no_grad()
def probe(network: nn.Module, split: PreparedSplit) -> dict[str, LayerHealth]:
    """Return the statistics of each layer over the split, in computation order."""
    network.eval()
    seen = Probe()
    with watching(network, seen.see):
        for inputs, _ in OrderedBatches(split, BATCH_SIZE):
            network(inputs)
    return seen.health()


class Probe:
    """Accumulator of activation statistics: `see` is the callback for `watching`, `health` returns the result."""

    def __init__(self) -> None:
        self.counts: dict[str, _Counts] = {}

    def see(self, layer: str, activation: nn.Module, output: Tensor) -> None:
        for rows in torch.split(output, max(1, CHUNK_VALUES[output.device.type] // output[0].numel())):
            x = _by_unit(rows)
            if layer not in self.counts:
                self.counts[layer] = _Counts.empty(_function_of(activation), x.shape[1], x.device)
            self.counts[layer].add(x)

    def health(self) -> dict[str, LayerHealth]:
        """Return the statistics of each layer over the outputs of all processes."""
        shares = of_all_processes({layer: counts.on_cpu() for layer, counts in self.counts.items()})
        return {layer: reduce(_Counts.plus, (counts[layer] for counts in shares)).health() for layer in self.counts}


def _function_of(module: nn.Module) -> Activation:
    """Return the activation function of a module; packages such as timm subclass PyTorch's modules."""
    return next(activation for activation in CATALOGUE.values() if isinstance(module, activation.module))


def _by_unit(output: Tensor) -> Tensor:
    """Return `[values, units]` for an output `[B, C, H, W]` or `[..., D]`."""
    return (output.movedim(1, -1) if output.ndim == 4 else output).flatten(0, -2)


def _histogram(codes: Tensor) -> Tensor:
    """Return how often each code occurs, int64 `[BF16_CODES]`, without waiting for a GPU."""
    if codes.device.type == "cpu":
        return torch.bincount(codes.int(), minlength=BF16_CODES)
    # A GPU sorts faster than it counts: additions to the same counter, most often that of 0, wait for each other.
    up_to = torch.searchsorted(codes.sort().values, torch.arange(BF16_CODES, device=codes.device).short(), right=True)
    return up_to.diff(prepend=up_to.new_zeros(1))


@dataclass
class _Counts:
    """Sums over the values of a layer, `active` by unit. They stay on the device, so that nothing waits for a GPU."""

    activation: Activation
    active: Tensor
    zeros: Tensor
    saturated: Tensor
    sum: Tensor
    max: Tensor
    histogram: Tensor
    values: int = 0  # of each unit

    @classmethod
    def empty(cls, activation: Activation, units: int, device: torch.device) -> Self:
        integers = partial(torch.zeros, dtype=torch.int64, device=device)
        return cls(
            activation,
            active=integers(units),
            zeros=integers(()),
            saturated=integers(()),
            sum=torch.zeros((), dtype=torch.float64, device=device),
            max=torch.full((), -torch.inf, device=device),
            histogram=integers(BF16_CODES),
        )

    def add(self, x: Tensor) -> None:
        x = x.float()
        self.values += len(x)
        positive = (x - self.activation.at_0).clamp_(min=0)
        codes = (positive if self.activation.at_0 == 0 else x).bfloat16().view(torch.int16).flatten()
        self.histogram += _histogram(codes & (BF16_CODES - 1))
        # A sum of floats is several times as fast, and exact for so few values.
        active = positive.sign_().sum(dim=0).long()
        self.active += active
        # Zeros need to be counted only if outputs that are not positive may be other numbers than 0.
        self.zeros += x.numel() - active.sum() if self.activation.gives_zeros else (x == 0).sum()
        self.sum += x.sum()
        self.max = torch.maximum(self.max, x.max())
        if self.activation.saturates:
            self.saturated += self._is_saturated(x).sum()

    def on_cpu(self) -> Self:
        tensors: dict[str, Any] = {name: value.cpu() for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **tensors)

    def plus(self, other: "_Counts") -> "_Counts":
        return _Counts(
            self.activation,
            active=self.active + other.active,
            values=self.values + other.values,
            zeros=self.zeros + other.zeros,
            saturated=self.saturated + other.saturated,
            sum=self.sum + other.sum,
            max=torch.maximum(self.max, other.max),
            histogram=self.histogram + other.histogram,
        )

    def _is_saturated(self, x: Tensor) -> Tensor:
        margin = SATURATION_MARGIN * (self.activation.upper - self.activation.lower)
        return (x < self.activation.lower + margin) | (x > self.activation.upper - margin)

    def health(self) -> LayerHealth:
        units = len(self.active)
        total = units * self.values
        return LayerHealth(
            units=units,
            zero_share=self.zeros.item() / total,
            dead_units=int((self.active == 0).sum()),
            always_active_units=int((self.active == self.values).sum()),
            mean=self.sum.item() / total,
            p99=self._percentile(0.99, total),
            max=self.max.item(),
            saturated_share=self.saturated.item() / total,
        )

    def _percentile(self, share: float, total: int) -> float:
        code = torch.searchsorted(self.histogram.cumsum(dim=0), share * total)
        return code.to(torch.int16).view(torch.bfloat16).item()
