"""Muon optimiser for convolutions, with SGD for all other parameters."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

MOMENTUM = 0.6
STEPS = 3
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Newton-Schulz; they give singular values between 0.7 and 1.2
TINY = 1e-7


class Muon(SGD):
    """SGD whose parameter groups with `muon: True` take steps along the orthogonalised momentum.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. These groups contain the weights
    `[out, in, height, width]` of convolutions, and must set SGD's momentum and weight decay to 0. A step has the norm
    `lr` times that of the weight; it does not change the weight's norm, as the following batch norm makes the output
    independent of it.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        filters = [p for group in self.param_groups if group.get("muon") for p in group["params"] if p.grad is not None]
        norms = [weight.norm() for weight in filters]
        for weight, norm in zip(filters, norms, strict=True):
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            state["momentum"].mul_(MOMENTUM).add_(weight.grad)
            direction = orthogonalise(weight.grad.add(state["momentum"], alpha=MOMENTUM))
            weight.grad.copy_(direction * (norm / direction.norm().clamp(min=TINY)))
        super().step()
        for weight, norm in zip(filters, norms, strict=True):
            weight.mul_(norm / weight.norm().clamp(min=TINY))
        return loss


def orthogonalise(weight: Tensor) -> Tensor:
    """Return `weight` `[out, ...]` with the singular values of its matrix `[out, rest]` moved close to 1."""
    matrix = weight.flatten(1)
    wide = matrix.shape[0] <= matrix.shape[1]
    matrix = matrix if wide else matrix.T
    matrix = matrix / matrix.norm().clamp(min=TINY)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        gram = matrix @ matrix.T
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        matrix = torch.addmm(matrix, polynomial, matrix, beta=a)
    orthogonal: Tensor = matrix if wide else matrix.T
    return orthogonal.reshape(weight.shape)
