"""Networks by name, built from plain values that a checkpoint can carry."""

from typing import Any

from torch import nn

from relu_pipeline.models.mlp import MLP
from relu_pipeline.models.plain_cnn import PlainCNN
from relu_pipeline.models.residual_cnn import ResidualCNN
from relu_pipeline.models.resnet18 import ResNet18
from relu_pipeline.models.text_mlp import TextMLP

NETWORKS: dict[str, type[nn.Module]] = {
    "residual_cnn": ResidualCNN,
    "plain_cnn": PlainCNN,
    "mlp": MLP,
    "resnet18": ResNet18,
    "text_mlp": TextMLP,
}


def build_network(name: str, settings: dict[str, Any]) -> nn.Module:
    """`settings` are the constructor's arguments."""
    return NETWORKS[name](**settings)
