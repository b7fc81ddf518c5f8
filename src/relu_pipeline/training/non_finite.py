"""Search for the first layer with a non-finite output."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def first_non_finite_layer(network: nn.Module, inputs: Tensor) -> str | None:
    """Return name and type of the first layer, in computation order, whose output for `inputs` has NaN or infinity."""
    found: list[str] = []

    def check(name: str, layer: nn.Module, output: Tensor) -> None:
        if not found and not output.isfinite().all():
            found.append(f"{name} ({type(layer).__name__})")

    hooks = [
        layer.register_forward_hook(lambda layer, _inputs, output, name=name: check(name, layer, output))
        for name, layer in network.named_modules()
        if not list(layer.children())
    ]
    try:
        network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None
