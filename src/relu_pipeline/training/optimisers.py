"""Construction of the optimiser and the learning-rate schedule from a TrainConfig."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from relu_pipeline.config import ImageTrainConfig, TrainConfig
from relu_pipeline.training.muon import Muon

MOMENTUM = 0.9
# If the scales are frozen, the biases of batch norms train well with a higher learning rate (Page, myrtle.ai 2018).
NORM_BIAS_FACTOR = 64


def build_optimiser(network: nn.Module, config: TrainConfig) -> SGD:
    """Return Nesterov SGD without weight decay for biases and norms (Goyal et al. 2017, arXiv:1706.02677).

    With `config.optimiser: muon`, Muon updates the weights of convolutions without a bias.
    """
    plain = {"momentum": 0.0, "nesterov": False}
    muon = config if isinstance(config, ImageTrainConfig) and config.optimiser == "muon" else None
    groups: dict[str, dict[str, Any]] = {
        "weights": {"weight_decay": config.weight_decay},
        "biases": {},
        "norm_biases": {
            "lr": config.learning_rate * NORM_BIAS_FACTOR,
            "weight_decay": config.weight_decay / NORM_BIAS_FACTOR,
        },
        # Without momentum: a batch contains few of the words, but momentum would update the whole table in each step.
        "embeddings": {"lr": getattr(config, "embedding_learning_rate", config.learning_rate)} | plain,
    }
    if muon:
        groups["filters"] = {"lr": muon.muon_learning_rate, "muon": True} | plain
    for group in groups.values():
        group["params"] = []
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad:
                name = "filters" if muon and _is_scaled(module) else _group_of(module, parameter)
                groups[name]["params"].append(parameter)
    return (Muon if muon else SGD)(
        [group for group in groups.values() if group["params"]],
        lr=config.learning_rate,
        momentum=MOMENTUM,
        nesterov=True,
        # On a GPU, None: PyTorch steps over lists of tensors. The fused step would leave gradients scaled in half
        # precision, and Muon and HealthReport need them unscaled.
        fused=True if next(network.parameters()).device.type == "cpu" else None,
    )


def _is_scaled(module: nn.Module) -> bool:
    """Return whether a norm follows: convolutions have no bias where a norm would cancel it."""
    return isinstance(module, nn.Conv2d) and module.bias is None


def _group_of(module: nn.Module, parameter: nn.Parameter) -> str:
    if isinstance(module, nn.Embedding):
        return "embeddings"
    if parameter.ndim > 1:  # no weight decay for others, such as the scales of norms and of PReLU
        return "weights"
    # With several GPUs, Lightning has replaced batch norms by synchronised ones.
    unscaled = isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)) and not module.weight.requires_grad
    return "norm_biases" if unscaled else "biases"


def build_schedule(optimiser: Optimizer, config: TrainConfig, num_steps: int) -> LambdaLR:
    return LambdaLR(optimiser, triangle(num_steps, config.warmup_fraction))


def triangle(num_steps: int, warmup_fraction: float) -> Callable[[int], float]:
    """Return the factor of the peak by step: a linear warm-up and decay to 0 (Smith & Topin 2018, arXiv:1708.07120)."""
    peak = max(1.0, num_steps * warmup_fraction)

    def factor(step: int) -> float:
        return max(0.0, min((step + 1) / peak, (num_steps - step) / max(1.0, num_steps - peak), 1.0))

    return factor
