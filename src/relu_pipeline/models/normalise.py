"""Input normalisation as a layer of the image networks, so that training, ONNX and serving use the same."""

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Normalisation per channel: uint8 `[B, H, W, C]` -> float `[B, C, H, W]`, of mean 0 and variance 1 after `fit`."""

    mean: Tensor
    std: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_channels))
        self.register_buffer("std", torch.ones(num_channels))

    def forward(self, image_BHWC: Tensor) -> Tensor:
        # Permuted first, because ONNX Runtime is slow if the broadcast axis is the innermost.
        return (image_BHWC.permute(0, 3, 1, 2).float() - self.mean[:, None, None]) / self.std[:, None, None]

    @torch.no_grad()
    def fit(self, image_BHWC: Tensor) -> None:
        """Set mean and standard deviation to those of these images, uint8 `[B, H, W, C]`."""
        pixels = image_BHWC.float()
        self.mean.copy_(pixels.mean(dim=(0, 1, 2)))
        self.std.copy_(pixels.std(dim=(0, 1, 2)))
