"""Networks by name, built from plain values that a checkpoint can carry.

A new image network is a class in a file here and its entry in IMAGE_NETWORKS (config.py), with a section of its name in
config.py and params.yaml if it has values to tune.
"""

import pkgutil
from typing import TYPE_CHECKING, Any, TypeAlias

from relu_pipeline.config import NETWORKS

if TYPE_CHECKING:
    from relu_pipeline.models.mlp import MLP
    from relu_pipeline.models.plain_cnn import PlainCNN
    from relu_pipeline.models.residual_cnn import ResidualCNN
    from relu_pipeline.models.resnet18 import ResNet18
    from relu_pipeline.models.text_mlp import TextMLP
    from relu_pipeline.models.timm_network import TimmNetwork

# All networks have the interface of these: `head` and `fit_input` besides `forward`.
ImageNetwork: TypeAlias = "MLP | PlainCNN | ResidualCNN | ResNet18 | TimmNetwork"
Network: TypeAlias = "ImageNetwork | TextMLP"


def build_network(name: str, settings: dict[str, Any]) -> Network:
    """`settings` are the constructor's arguments. Raises KeyError."""
    network: Network = pkgutil.resolve_name(NETWORKS[name])(**settings)
    return network
