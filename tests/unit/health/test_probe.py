import torch
from torch import nn

from relu_pipeline.data.images import ImageSplit
from relu_pipeline.health.probe import zero_shares


class Known(nn.Module):
    """Two ReLU layers whose zeros are known: half of the first's outputs, all of the second's."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ReLU()
        self.second = nn.ReLU()

    def forward(self, image_BHWC: torch.Tensor) -> torch.Tensor:
        x = image_BHWC.float()
        return self.second(-self.first(torch.cat((x + 1, -x - 1), dim=1)))


def test_zeros_are_counted_exactly_and_hooks_removed() -> None:
    network = Known()
    split = ImageSplit(torch.zeros(1203, 4, 4, 3, dtype=torch.uint8), torch.zeros(1203, dtype=torch.int64))
    assert zero_shares(network, split) == {"first": 0.5, "second": 1.0}
    assert not network.first._forward_hooks
