"""torchvision's ResNet-18 (He et al. 2015, arXiv:1512.03385) with a stem for small images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from relu_pipeline.models.normalise import Normalise


class ResNet18(nn.Module):
    """ResNet-18: uint8 `[B, H, W, C]` -> logits `[B, num_classes]`. The stem is 3x3 without pooling."""

    def __init__(self, num_classes: int, image_shape: Sequence[int]) -> None:
        from torchvision.models import resnet18  # the other networks do not need torchvision

        super().__init__()
        self.image_shape = tuple(image_shape)
        self.normalise = Normalise(image_shape[-1])
        self.resnet = resnet18(num_classes=num_classes)
        self.resnet.conv1 = nn.Conv2d(image_shape[-1], 64, 3, padding=1, bias=False)
        self.resnet.maxpool = nn.Identity()
        self.to(memory_format=torch.channels_last)

    @property
    def head(self) -> nn.Linear:
        head: nn.Linear = self.resnet.fc
        return head

    def forward(self, image_BHWC: Tensor) -> Tensor:
        logits_BC: Tensor = self.resnet(self.normalise(image_BHWC))
        return logits_BC

    def fit_input(self, image_BHWC: Tensor) -> None:
        self.normalise.fit(image_BHWC)
