"""Share of zeros by ReLU layer."""

from collections import Counter

import torch
from torch import Tensor, nn

from relu_pipeline.data.batches import AnySplit, OrderedBatches

BATCH_SIZE = 500


@torch.no_grad()
def zero_shares(network: nn.Module, split: AnySplit) -> dict[str, float]:
    """For each `nn.ReLU` by its name: how many of its outputs over the whole split are exactly 0, from 0 to 1."""
    zeros: Counter[str] = Counter()
    total: Counter[str] = Counter()

    def count(name: str, output: Tensor) -> None:
        zeros[name] += output.numel() - int(torch.count_nonzero(output))
        total[name] += output.numel()

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: count(name, output))
        for name, module in network.named_modules()
        if isinstance(module, nn.ReLU)
    ]
    try:
        network.eval()
        for inputs, _ in OrderedBatches(split, BATCH_SIZE):
            network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: zeros[name] / total[name] for name in total}
