"""Image models of the package timm, with random or pretrained weights: https://huggingface.co/docs/timm."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from relu_pipeline.models.normalise import Normalise
from relu_pipeline.models.timm_weights import (
    REFUSALS,
    build,
    classifiers,
    normalisation,
    pretrained_model,
    shape_error,
)


class TimmNetwork(nn.Module):
    """timm model: uint8 `[B, H, W, C]` of `image_shape` (H, W, C) -> logits `[B, num_classes]`.

    Pretrained weights are loaded by `fit_input`, which only training calls, so that loading a checkpoint needs neither
    the hub nor the file `weights`. `freeze` trains only the classifier and keeps all other layers, including batch
    norms, in evaluation mode.

    Raises ConfigError if timm has no model `name`, or if it cannot be built for images of this shape.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: Sequence[int],
        name: str,
        pretrained: bool = False,
        freeze: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.image_shape = tuple(image_shape)
        self.name = name
        self.pretrained = pretrained
        self.freeze = freeze
        self.weights = weights
        self.normalise = Normalise(image_shape[-1])
        self.model = build(name, num_classes, image_shape)
        if freeze:
            self.model.requires_grad_(False)
            for classifier in classifiers(self.model):
                classifier.requires_grad_(True)
        self.train()

    @property
    def head(self) -> nn.Linear | None:
        """Return the classifier, or None if it is not a single linear layer."""
        found = classifiers(self.model)
        return found[0] if len(found) == 1 and isinstance(found[0], nn.Linear) else None

    def forward(self, image_BHWC: Tensor) -> Tensor:
        logits_BC: Tensor = self.model(self.normalise(image_BHWC))
        return logits_BC

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.freeze:
            self.model.eval()
            for classifier in classifiers(self.model):
                classifier.train(mode)
        return self

    @torch.no_grad()
    def fit_input(self, image_BHWC: Tensor) -> None:
        """Load the pretrained weights and their normalisation, or fit the normalisation to the images.

        Raises ConfigError if the weights do not fit the model or it does not support the size of the images, and
        DownloadError if the weights cannot be downloaded.
        """
        if self.pretrained:
            loaded = pretrained_model(self.name, self.num_classes, self.image_shape, self.weights)
            self.model.load_state_dict(loaded.state_dict())
            mean_C, std_C = normalisation(loaded)
            self.normalise.mean.copy_(mean_C)
            self.normalise.std.copy_(std_C)
        else:
            self.normalise.fit(image_BHWC)
        try:
            self.eval()(image_BHWC[:2])
        except REFUSALS as error:
            raise shape_error(self.name, self.image_shape, error) from error
        self.train()
