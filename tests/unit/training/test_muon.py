from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from relu_pipeline.config import load_params
from relu_pipeline.training.muon import Muon, orthogonalise
from relu_pipeline.training.optimisers import build_optimiser


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)
    )


def optimiser_of(network: nn.Module, **changes: object) -> Muon:
    config = load_params().image.train.model_copy(update={"optimiser": "muon"} | changes)
    optimiser = build_optimiser(network, config)
    assert isinstance(optimiser, Muon)
    return optimiser


def step(network: nn.Module, optimiser: torch.optim.Optimizer, scale: float = 1.0) -> None:
    optimiser.zero_grad()
    inputs = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    (scale * network(inputs).square().mean()).backward()
    optimiser.step()


@given(out=st.integers(1, 20), inputs=st.integers(1, 5), side=st.integers(1, 3), seed=st.integers(0, 100))
def test_an_orthogonalised_bank_turns_its_filters_and_makes_them_about_as_long(out, inputs, side, seed) -> None:
    weight = torch.randn(out, inputs, side, side, generator=torch.Generator().manual_seed(seed))
    left, singular, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    found = left.T @ orthogonalise(weight).flatten(1) @ right.T
    assert torch.allclose(found, found.diagonal().diag(), atol=1e-3)  # the same singular vectors
    large = singular > singular.max() / 20
    assert (found.diagonal()[large] > 0.25).all()
    assert (found.diagonal() < 1.25).all()


def test_a_step_turns_the_filters_by_the_learning_rate_and_keeps_their_norm() -> None:
    network = small_network()
    before = network[0].weight.detach().clone()
    step(network, optimiser_of(network, muon_learning_rate=0.1))
    after = network[0].weight.detach()
    assert after.norm().item() == pytest.approx(before.norm().item(), rel=1e-5)
    assert ((after - before).norm() / before.norm()).item() == pytest.approx(0.1, rel=0.1)


def test_the_scale_of_the_loss_does_not_change_a_step_of_the_filters() -> None:
    networks = [small_network(), small_network()]
    for network, scale in zip(networks, (1.0, 64.0), strict=True):
        step(network, optimiser_of(network), scale)
    assert torch.allclose(networks[0][0].weight, networks[1][0].weight, atol=1e-5)


def test_other_parameters_take_the_steps_of_sgd() -> None:
    networks = [small_network(), small_network()]
    step(networks[0], optimiser_of(networks[0]))
    step(networks[1], build_optimiser(networks[1], load_params().image.train))
    assert torch.equal(networks[0][4].weight, networks[1][4].weight)
    assert not torch.equal(networks[0][0].weight, networks[1][0].weight)


def test_filters_without_gradients_stay_as_they_are() -> None:
    network = small_network()
    optimiser = optimiser_of(network)
    before = network[0].weight.detach().clone()
    step(network, optimiser, 0.0)
    assert torch.allclose(network[0].weight, before)


def test_a_restored_state_goes_on_to_the_same_weights() -> None:
    network, copy = small_network(), small_network()
    optimiser = optimiser_of(network)
    step(network, optimiser)
    copy.load_state_dict(network.state_dict())
    resumed = optimiser_of(copy)
    resumed.load_state_dict(deepcopy(optimiser.state_dict()))
    step(network, optimiser)
    step(copy, resumed)
    assert torch.equal(network[0].weight, copy[0].weight)


def test_a_convolution_without_a_norm_takes_the_steps_of_sgd() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2))
    optimiser = optimiser_of(network)
    assert not any(group.get("muon") for group in optimiser.param_groups)
