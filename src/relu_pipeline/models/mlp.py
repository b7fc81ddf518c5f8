"""Multilayer perceptron on flattened images, such as the classic 784-256-128-10 on images of 28x28 pixels."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from relu_pipeline.activations import CATALOGUE
from relu_pipeline.config import ActivationName
from relu_pipeline.models.normalise import Normalise


class MLP(nn.Module):
    """Multilayer perceptron: uint8 `[B, H, W, C]` of `image_shape` (H, W, C) -> logits `[B, num_classes]`."""

    def __init__(
        self, num_classes: int, image_shape: Sequence[int], hidden_dims: Sequence[int], activation: ActivationName
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.normalise = Normalise(image_shape[-1])
        self.hidden = dense_layers([math.prod(image_shape), *hidden_dims], activation)
        self.head = nn.Linear([math.prod(image_shape), *hidden_dims][-1], num_classes)

    def forward(self, image_BHWC: Tensor) -> Tensor:
        logits_BC: Tensor = self.head(self.hidden(self.normalise(image_BHWC).flatten(1)))
        return logits_BC

    def fit_input(self, image_BHWC: Tensor) -> None:
        self.normalise.fit(image_BHWC)


def dense_layers(dims: Sequence[int], activation: ActivationName) -> nn.Sequential:
    """Return linear layers from each of `dims` to the next, each followed by the activation."""
    pairs = ((nn.Linear(d_in, d_out), CATALOGUE[activation].module()) for d_in, d_out in itertools.pairwise(dims))
    return nn.Sequential(*itertools.chain.from_iterable(pairs))
