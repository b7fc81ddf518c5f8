"""The CNN of introductory courses: 3x3 convolutions without padding, each followed by 2x2 pooling, and dense layers."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from relu_pipeline.activations import CATALOGUE
from relu_pipeline.config import ActivationName
from relu_pipeline.models.mlp import dense_layers
from relu_pipeline.models.normalise import Normalise

KERNEL = 3


class PlainCNN(nn.Module):
    """CNN: uint8 `[B, H, W, C]` of `image_shape` (H, W, C) -> logits `[B, num_classes]`.

    If `hidden_dims` is empty, the head is the only dense layer. Raises ValueError if the images are too small for this
    number of `widths`.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: Sequence[int],
        widths: Sequence[int],
        hidden_dims: Sequence[int],
        activation: ActivationName,
    ) -> None:
        super().__init__()
        height, width, channels = image_shape
        self.image_shape = tuple(image_shape)
        self.normalise = Normalise(channels)
        self.features = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(c_in, c_out, KERNEL), CATALOGUE[activation].module(), nn.MaxPool2d(2))
                for c_in, c_out in itertools.pairwise([channels, *widths])
            )
        )
        sides = [side_after(side, len(widths)) for side in (height, width)]
        dims = [widths[-1] * math.prod(sides), *hidden_dims]
        self.hidden = dense_layers(dims, activation)
        self.head = nn.Linear(dims[-1], num_classes)

    def forward(self, image_BHWC: Tensor) -> Tensor:
        x_BCHW = self.features(self.normalise(image_BHWC))
        logits_BC: Tensor = self.head(self.hidden(x_BCHW.flatten(1)))
        return logits_BC

    def fit_input(self, image_BHWC: Tensor) -> None:
        self.normalise.fit(image_BHWC)


def side_after(side: int, num_convolutions: int) -> int:
    """Return the height or width after the convolutions and pooling: 28 -> 26 -> 13 -> 11 -> 5.

    Raises ValueError if nothing is left.
    """
    left = side
    for _ in range(num_convolutions):
        left = (left - KERNEL + 1) // 2
    if left < 1:
        raise ValueError(f"a side of {side} pixels is too small for {num_convolutions} convolutions; use fewer widths")
    return left
