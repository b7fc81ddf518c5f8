"""Forward hooks on the activations of a network."""

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
    """Call `see(layer, activation, output)` for each activation module in each forward pass within the block.

    `layer` is the name of the convolution or linear layer that ran last before the activation; after a sum, this is the
    last layer of the branch that ran last. A second activation after the same layer is named `layer:2`. An output
    `[B, H, W, C]` after a linear layer is passed as `[B, C, H, W]`. The hooks are removed after the block.
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
    """Return the output with the units as second axis, `[B, C, H, W]`; a linear layer has them last."""
    return output.movedim(-1, 1) if isinstance(source, nn.Linear) and output.ndim == 4 else output
