"""Networks by name, built from plain values that a checkpoint can carry.

A new image network is a class here, its name in `ImageModelConfig.name` (config.py), and a section of that name there
and in params.yaml where it has values to tune.
"""

from typing import Any

from torch import nn

from relu_pipeline.models.mlp import MLP
from relu_pipeline.models.plain_cnn import PlainCNN
from relu_pipeline.models.residual_cnn import ResidualCNN
from relu_pipeline.models.resnet18 import ResNet18
from relu_pipeline.models.text_mlp import TextMLP
from relu_pipeline.models.timm_network import TimmNetwork

NETWORKS: dict[str, type[nn.Module]] = {
    "residual_cnn": ResidualCNN,
    "plain_cnn": PlainCNN,
    "mlp": MLP,
    "resnet18": ResNet18,
    "timm": TimmNetwork,
    "text_mlp": TextMLP,
}


def build_network(name: str, settings: dict[str, Any]) -> nn.Module:
    """`settings` are the constructor's arguments."""
    return NETWORKS[name](**settings)
