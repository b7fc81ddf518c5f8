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
