"""Residual ReLU CNN behind a frozen whitening stem (Jordan 2024, arXiv:2404.00498; Page, myrtle.ai 2018)."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

STEM_KERNEL = 4
STEM_STRIDE = 2
WHITENING_EPS = 5e-4


class ImageCNN(nn.Module):
    """uint8 `[B, H, W, 3]` -> logits `[B, num_classes]`; `widths` are the channels of the blocks."""

    def __init__(self, num_classes: int, widths: Sequence[int], stem_components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("std", torch.ones(3))
        self.stem = nn.Conv2d(3, 2 * stem_components, STEM_KERNEL, STEM_STRIDE, padding=1, bias=False)
        self.stem.weight.requires_grad_(False)
        self.stem_relu = nn.ReLU()
        channels = [2 * stem_components, *widths]
        pairs = itertools.pairwise(channels)
        self.blocks = nn.Sequential(*(Block(c_in, c_out, pool=i > 0) for i, (c_in, c_out) in enumerate(pairs)))
        self.head = nn.Linear(channels[-1], num_classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, image_BHWC: Tensor) -> Tensor:
        x_BCHW = self.normalise(image_BHWC)
        x_BCHW = self.blocks(self.stem_relu(self.stem(x_BCHW)))
        return self.head(x_BCHW.mean(dim=(2, 3)))

    def normalise(self, image_BHWC: Tensor) -> Tensor:
        """Part of the network, so that training, ONNX and the service cannot differ. Gives `[B, 3, H, W]`."""
        return ((image_BHWC.float() - self.mean) / self.std).permute(0, 3, 1, 2)

    @torch.no_grad()
    def fit_input(self, image_BHWC: Tensor) -> None:
        """Set the normalisation and the whitening filters from training images (uint8)."""
        pixels = image_BHWC.float()
        self.mean.copy_(pixels.mean(dim=(0, 1, 2)))
        self.std.copy_(pixels.std(dim=(0, 1, 2)))
        filters = whitening_filters(self.normalise(image_BHWC))[: self.stem.out_channels // 2]
        self.stem.weight.copy_(torch.cat((filters, -filters)))


class Block(nn.Module):
    """Optional 2x2 pooling, a 3x3 convolution that widens, and a residual one (He et al. 2015, arXiv:1512.03385)."""

    def __init__(self, channels_in: int, channels_out: int, pool: bool) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.widen = ConvBatchNorm(channels_in, channels_out)
        self.widen_relu = nn.ReLU()
        self.residual = ConvBatchNorm(channels_out, channels_out)
        self.residual_relu = nn.ReLU()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.widen_relu(self.widen(self.pool(x_BCHW)))
        return self.residual_relu(x_BCHW + self.residual(x_BCHW))


class ConvBatchNorm(nn.Sequential):
    """3x3 convolution without bias, then batch norm, which brings its own."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )


def whitening_filters(x_BCHW: Tensor) -> Tensor:
    """Filters `[C*k*k, C, k, k]` that decorrelate the k x k patches of `x_BCHW`, largest variance first."""
    k = STEM_KERNEL
    patches = x_BCHW.unfold(2, k, k).unfold(3, k, k).permute(0, 2, 3, 1, 4, 5).reshape(-1, x_BCHW.shape[1] * k * k)
    variances, vectors = torch.linalg.eigh(torch.cov(patches.double().T))
    filters = (vectors / (variances + WHITENING_EPS).sqrt()).T.flip(0)
    return filters.reshape(-1, x_BCHW.shape[1], k, k).float()
