"""Networks by task, built from plain values that a checkpoint can carry."""

from typing import Any

from torch import nn

from relu_pipeline.config import Task
from relu_pipeline.models.image_cnn import ImageCNN
from relu_pipeline.models.text_mlp import TextMLP

NETWORKS: dict[Task, type[nn.Module]] = {"image": ImageCNN, "text": TextMLP}


def build_network(task: Task, settings: dict[str, Any]) -> nn.Module:
    """`settings` are the constructor's arguments."""
    return NETWORKS[task](**settings)
