"""How large the gradients are, layer by layer: do they vanish or explode on their way back?"""

import torch
from torch import Tensor, nn

from relu_pipeline.health.hooks import WEIGHTED


class GradientNorms:
    """Mean over the added steps of the Euclidean norm of each trained convolution's or linear layer's weight gradient.

    A step that overflowed, as a scaler's first ones in half precision do, is left out.
    """

    def __init__(self, network: nn.Module) -> None:
        self.weights = {
            name: module.weight
            for name, module in network.named_modules()
            if isinstance(module, WEIGHTED) and module.weight.requires_grad
        }
        self.clear()

    def clear(self) -> None:
        self.sums: Tensor | float = 0.0
        self.steps = 0

    @torch.no_grad()
    def add(self) -> None:
        """Between backward and the optimiser's step."""
        norms = torch.stack([weight.grad.float().norm() for weight in self.weights.values()])
        if norms.isfinite().all():
            self.sums = self.sums + norms
            self.steps += 1

    def means(self) -> dict[str, float]:
        """By layer; empty before the first step."""
        if not self.steps:
            return {}
        return dict(zip(self.weights, (self.sums / self.steps).tolist(), strict=True))
