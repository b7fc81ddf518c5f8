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
        self.steps: list[dict[str, Tensor]] = []

    @torch.no_grad()
    def add(self) -> None:
        """Add the norms of a step, without waiting for a GPU; to be called after `backward`, before the optimiser."""
        weights = self.weights.items()
        self.steps.append({name: weight.grad.float().norm() for name, weight in weights if weight.grad is not None})

    def means(self) -> dict[str, float]:
        """Return the mean norm of each layer that was used."""
        finite = [step for step in self.steps if step and torch.stack(list(step.values())).isfinite().all()]
        norms = {name: [step[name] for step in finite if name in step] for name in self.weights}
        return {name: torch.stack(values).mean().item() for name, values in norms.items() if values}
