"""Networks by name, built from plain values that a checkpoint can carry.

A new image network is a class in a file here and its entry in IMAGE_NETWORKS (config.py), with a section of its name in
config.py and params.yaml if it has values to tune.
"""

import pkgutil
from typing import Any

from torch import nn

from relu_pipeline.config import NETWORKS


def build_network(name: str, settings: dict[str, Any]) -> nn.Module:
    """`settings` are the constructor's arguments. Raises KeyError."""
    network: nn.Module = pkgutil.resolve_name(NETWORKS[name])(**settings)
    return network
