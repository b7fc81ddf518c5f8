"""How large the gradients are, layer by layer: do they vanish or explode on their way back?"""

import torch
from torch import Tensor, nn

from relu_pipeline.health.hooks import WEIGHTED


class GradientNorms:
    """Mean over the added steps of the Euclidean norm of each trained convolution's or linear layer's weight gradient.

    A step that overflowed, as a scaler's first ones in half precision do, is left out, and so is a layer in the steps
    whose forward pass did not use it.
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
        """Between backward and the optimiser's step."""
        norms = {name: weight.grad.float().norm() for name, weight in self.weights.items() if weight.grad is not None}
        if norms and torch.stack(list(norms.values())).isfinite().all():
            for name, norm in norms.items():
                self.norms[name].append(norm)

    def means(self) -> dict[str, float]:
        """By layer, of those that a step used."""
        return {name: torch.stack(norms).mean().item() for name, norms in self.norms.items() if norms}
