"""Where the activations of a network can be seen: forward hooks, removed afterwards."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from relu_pipeline.activations import CATALOGUE

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
ACTIVATIONS = tuple(activation.module for activation in CATALOGUE.values())

See = Callable[[str, nn.Module, Tensor], None]


@contextmanager
def watching(network: nn.Module, see: See) -> Iterator[None]:
    """Within the block, each forward pass calls `see(layer, activation, output)` for each activation module.

    `layer` names the convolution or linear layer that ran last before it: the one whose units the outputs are.
    Behind a sum that is the branch that ran last. A second activation behind the same layer is named `layer:2`.
    The units of an output `[B, H, W, C]`, behind a linear layer, are moved to where a convolution has them.
    """
    behind: Counter[str] = Counter()
    last: list[tuple[str, nn.Module]] = []

    def start(_module: nn.Module, _inputs: object) -> None:
        behind.clear()
        last.clear()

    def weighted(module: nn.Module, name: str) -> None:
        last[:] = [(name, module)]

    def activation(module: nn.Module, name: str, output: Tensor) -> None:
        layer, source = last[0] if last else (name, module)
        behind[layer] += 1
        number = f":{behind[layer]}" if behind[layer] > 1 else ""
        see(f"{layer}{number}", module, units_second(source, output))

    hooks = [network.register_forward_pre_hook(start)]
    for name, module in network.named_modules():
        if isinstance(module, WEIGHTED):
            hooks.append(module.register_forward_hook(lambda m, *_, name=name: weighted(m, name)))
        elif isinstance(module, ACTIVATIONS):
            hooks.append(module.register_forward_hook(lambda m, _, output, name=name: activation(m, name, output)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def units_second(source: nn.Module, output: Tensor) -> Tensor:
    """`[B, C, H, W]` also of a linear layer, whose units are the last axis."""
    return output.movedim(-1, 1) if isinstance(source, nn.Linear) and output.ndim == 4 else output
