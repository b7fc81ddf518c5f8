import torch
from torch import nn

from relu_pipeline.training.non_finite import first_non_finite_layer


class Logarithm(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.log()


def test_the_first_layer_in_the_order_of_computation_is_named() -> None:
    network = nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU(), Logarithm()), nn.Tanh())
    assert first_non_finite_layer(network, torch.tensor([1.0, -1.0])) == "1.1 (Logarithm)"
    assert first_non_finite_layer(network, torch.tensor([1.0, 2.0])) is None
