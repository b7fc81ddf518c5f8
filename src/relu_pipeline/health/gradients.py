"""Gradient norms by layer, to detect vanishing and exploding gradients."""

import torch
from torch import Tensor, nn

from relu_pipeline.health.hooks import WEIGHTED


class GradientNorms:
    """Euclidean norms of the weight gradients of the trained convolutions and linear layers, averaged over steps.

    Steps with a non-finite gradient are skipped, such as the first ones of a gradient scaler in half precision. A layer
    is skipped in steps that do not use it.
    """

    def __init__(self, network: nn.Module) -> None:
        self.weights = {
            name: module.weight
            for name, module in network.named_modules()
            if isinstance(module, WEIGHTED) and module.weight.requires_grad
        }
        self.clear()

    def clear(self) -> None:
        self.norms: dict[str, list[Tensor]] = {name: [] for name in self.weights}

    @torch.no_grad()
    def add(self) -> None:
        """Add the norms of a step; to be called after `backward` and before the optimiser's step."""
        norms = {name: weight.grad.float().norm() for name, weight in self.weights.items() if weight.grad is not None}
        if norms and torch.stack(list(norms.values())).isfinite().all():
            for name, norm in norms.items():
                self.norms[name].append(norm)

    def means(self) -> dict[str, float]:
        """Return the mean norm of each layer that was used."""
        return {name: torch.stack(norms).mean().item() for name, norms in self.norms.items() if norms}
