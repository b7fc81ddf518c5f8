import pytest
import torch
from torch import nn

from relu_pipeline.health.gradients import GradientNorms


def test_norms_are_means_over_the_steps_of_each_trained_layer() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1), nn.Linear(1, 1))
    network[3].weight.requires_grad_(False)
    norms = GradientNorms(network)
    assert norms.means() == {}
    for scale in (1.0, 3.0):
        for weight in (network[0].weight, network[2].weight):
            weight.grad = torch.full_like(weight, scale)
        norms.add()
    assert norms.means() == pytest.approx({"0": 2 * 2.0, "2": 2 * 2**0.5})
    norms.clear()
    assert norms.means() == {}


def test_a_step_with_a_gradient_that_is_not_finite_is_skipped_in_all_layers() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1))
    norms = GradientNorms(network)
    norms.add()  # before any gradient
    for values in ((1.0, 1.0), (1.0, torch.inf), (torch.nan, 1.0), (3.0, 3.0)):
        for layer, value in zip(network, values, strict=True):
            layer.weight.grad = torch.full_like(layer.weight, value)
        norms.add()
    assert norms.means() == pytest.approx({"0": 2 * 2.0, "1": 2 * 2**0.5})


class TwoWays(nn.Module):
    """`unused` has weights, and no part in the forward pass; `sometimes` has one where it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.sometimes, self.unused = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, ask: bool) -> torch.Tensor:
        x = self.used(x)
        return self.sometimes(x) if ask else x


def test_a_layer_is_measured_in_the_steps_that_use_it() -> None:
    network = TwoWays()
    norms, expected = GradientNorms(network), {"used": [], "sometimes": []}
    for ask in (True, False, True):
        network.zero_grad()
        network(torch.ones(1, 2), ask).square().sum().backward()
        norms.add()
        for name, found in expected.items():
            grad = getattr(network, name).weight.grad
            found += [] if grad is None else [grad.norm().item()]
    assert [len(found) for found in expected.values()] == [3, 2]
    assert norms.means() == pytest.approx({name: sum(found) / len(found) for name, found in expected.items()})
