"""Optimiser and learning-rate schedule out of a TrainConfig."""

from collections.abc import Callable

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from relu_pipeline.config import TrainConfig

MOMENTUM = 0.9


def build_optimiser(network: nn.Module, config: TrainConfig) -> Optimizer:
    """No weight decay for biases and batch-norm scales (Goyal et al. 2017, arXiv:1706.02677)."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.learning_rate, momentum=MOMENTUM, nesterov=True)
    return AdamW(groups, lr=config.learning_rate)


def build_schedule(optimiser: Optimizer, config: TrainConfig, num_steps: int) -> LambdaLR:
    return LambdaLR(optimiser, triangle(num_steps, config.warmup_fraction))


def triangle(num_steps: int, warmup_fraction: float) -> Callable[[int], float]:
    """Factor of the peak at each step: linear up, then linear down to 0 (Smith & Topin 2018, arXiv:1708.07120)."""
    peak = max(1.0, num_steps * warmup_fraction)

    def factor(step: int) -> float:
        return max(0.0, min((step + 1) / peak, (num_steps - step) / max(1.0, num_steps - peak), 1.0))

    return factor
