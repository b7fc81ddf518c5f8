"""The command `relu-pipeline describe`: the layers of a network, and its prediction for a random input."""

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.utilities.model_summary.model_summary import ModelSummary
from torch import Tensor, nn

from relu_pipeline.errors import ConfigError
from relu_pipeline.models.catalogue import Network, build_network
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.models.teaching import TEACHING, teaching_network
from relu_pipeline.models.text_mlp import TextMLP

SEED = 0
NUM_TOKENS = 32
TOP = 3


class Shown(L.LightningModule):
    """Module with the attributes that Lightning's `ModelSummary` requires."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        super().__init__()
        self.network = network
        self.example_input_array = example

    def forward(self, inputs: Tensor) -> Tensor:
        logits_BC: Tensor = self.network(inputs)
        return logits_BC


def describe(name: str) -> str:
    """Return the layers of a network of `TEACHING`, with random weights, or of a checkpoint.

    Raises ConfigError, ArtifactError.
    """
    torch.manual_seed(SEED)
    network = find_network(name).eval()
    example = random_input(network)
    if name in TEACHING and not isinstance(network, TextMLP):
        network.fit_input(example)
    return f"{ModelSummary(Shown(network, example), max_depth=-1)}\n\n{answer(network, example)}"


def find_network(name: str) -> Network:
    if name in TEACHING:
        return build_network(*teaching_network(name))
    if Path(name).suffix == ".ckpt":
        return load_network(Path(name))
    raise ConfigError(f"{name}: no such network; valid: {', '.join(TEACHING)}, or the path of a trained best.ckpt")


def random_input(network: Network) -> Tensor:
    """Return a batch of one input whose pixels or tokens are uniformly random."""
    if isinstance(network, TextMLP):
        return torch.randint(1, network.embedding.num_embeddings, (1, NUM_TOKENS))
    return torch.randint(256, (1, *network.image_shape), dtype=torch.uint8)


@torch.no_grad()
def answer(network: nn.Module, example: Tensor) -> str:
    probabilities = torch.softmax(network(example)[0], dim=0)
    best = probabilities.topk(min(TOP, len(probabilities)))
    classes = ", ".join(f"class {index} ({value:.1%})" for value, index in zip(*best, strict=True))
    return f"Prediction for a random input of shape {list(example.shape)}: {classes}."
