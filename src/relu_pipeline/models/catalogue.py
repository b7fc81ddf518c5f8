"""Construction of networks by name, from plain values that are stored in checkpoints.

To add an image network, write its class in a file of this package and add an entry to IMAGE_NETWORKS (config.py). If it
has hyperparameters, add a section of its name to config.py and params.yaml.
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

# All of these have `head` and `fit_input` besides `forward`.
ImageNetwork: TypeAlias = "MLP | PlainCNN | ResidualCNN | ResNet18 | TimmNetwork"
Network: TypeAlias = "ImageNetwork | TextMLP"


def build_network(name: str, settings: dict[str, Any]) -> Network:
    """Build the network `name` with the constructor arguments `settings`. Raises KeyError for an unknown name."""
    network: Network = pkgutil.resolve_name(NETWORKS[name])(**settings)
    return network
