"""Residual CNN with a frozen whitening stem, designed for training in few epochs.

The whitening stem, Dirac initialisation, frozen batch-norm scales and pooling before the norm are those of Jordan 2024,
arXiv:2404.00498.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from relu_pipeline.models.normalise import Normalise

WHITENING_EPS = 5e-4
USUAL_SIDE = 32


class ResidualCNN(nn.Module):
    """Residual CNN: uint8 `[B, H, W, C]` -> logits `[B, num_classes]`.

    Each block has `widths` channels and halves H and W. For each doubling of the image's side beyond 32 pixels, a block
    of half the first width is put in front.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: Sequence[int],
        widths: Sequence[int],
        stem_kernel: int,
        stem_stride: int,
        stem_components: int,
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        height, width, colours = image_shape
        self.normalise = Normalise(colours)
        doublings = int(math.log2(max(1, min(height, width) / USUAL_SIDE)))
        further = [max(1, widths[0] // 2)] * doublings
        channels = [2 * min(stem_components, colours * stem_kernel**2), *further, *widths]
        self.stem = nn.Conv2d(
            colours, channels[0], stem_kernel, stem_stride, padding=(stem_kernel - 1) // 2, bias=False
        )
        self.stem.weight.requires_grad_(False)
        self.stem_relu = nn.ReLU()
        self.blocks = nn.Sequential(*(Block(c_in, c_out) for c_in, c_out in itertools.pairwise(channels)))
        self.head = nn.Linear(channels[-1], num_classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, image_BHWC: Tensor) -> Tensor:
        x_BCHW = self.normalise(image_BHWC)
        x_BCHW = self.blocks(self.stem_relu(self.stem(x_BCHW)))
        logits_BC: Tensor = self.head(x_BCHW.mean(dim=(2, 3)))
        return logits_BC

    @torch.no_grad()
    def fit_input(self, image_BHWC: Tensor) -> None:
        """Fit the normalisation and the whitening filters to training images, uint8 `[B, H, W, C]`."""
        self.normalise.fit(image_BHWC)
        filters = whitening_filters(self.normalise(image_BHWC), self.stem.kernel_size[0])[: self.stem.out_channels // 2]
        self.stem.weight.copy_(torch.cat((filters, -filters)))


class Block(nn.Module):
    """Widening 3x3 convolution, 2x2 pooling and a residual 3x3 convolution (He et al. 2015, arXiv:1512.03385)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.widen = dirac_convolution(channels_in, channels_out)
        self.pool = nn.MaxPool2d(2)
        self.widen_norm = unscaled_batch_norm(channels_out)
        self.widen_relu = nn.ReLU()
        self.residual = dirac_convolution(channels_out, channels_out)
        self.residual_norm = unscaled_batch_norm(channels_out)
        self.residual_relu = nn.ReLU()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.widen_relu(self.widen_norm(self.pool(self.widen(x_BCHW))))
        residual_BCHW: Tensor = self.residual_relu(self.residual_norm(self.residual(x_BCHW)))
        return x_BCHW + residual_BCHW


def dirac_convolution(channels_in: int, channels_out: int) -> nn.Conv2d:
    """Return a 3x3 convolution without bias, initialised to the identity; additional channels are random."""
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(convolution.weight[:channels_in])
    return convolution


def unscaled_batch_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    norm.weight.requires_grad_(False)
    return norm


def whitening_filters(x_BCHW: Tensor, kernel: int) -> Tensor:
    """Return filters `[C*k*k, C, k, k]` that whiten the k x k patches of `x_BCHW`, in order of decreasing variance."""
    patches = x_BCHW.unfold(2, kernel, kernel).unfold(3, kernel, kernel).permute(0, 2, 3, 1, 4, 5)
    patches = patches.reshape(-1, x_BCHW.shape[1] * kernel * kernel)
    variances, vectors = torch.linalg.eigh(torch.cov(patches.double().T))
    filters: Tensor = (vectors / (variances + WHITENING_EPS).sqrt()).T.flip(0)
    return filters.reshape(-1, x_BCHW.shape[1], kernel, kernel).float()
