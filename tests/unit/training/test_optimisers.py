import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from relu_pipeline.config import load_params
from relu_pipeline.training.optimisers import build_optimiser, triangle


@given(num_steps=st.integers(1, 2000), warmup=st.floats(0.01, 0.99))
def test_the_schedule_rises_to_the_peak_and_falls_to_0(num_steps: int, warmup: float) -> None:
    factors = [triangle(num_steps, warmup)(step) for step in range(num_steps + 1)]
    peak = factors.index(max(factors))
    assert all(0 < factor <= 1 for factor in factors[:-1])
    assert factors[-1] == 0
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert factors[peak] >= 0.4


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_frozen_weights_are_left_out_and_biases_do_not_decay(name: str) -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    network[2].weight.requires_grad_(False)
    config = load_params().text.train.model_copy(update={"optimizer": name, "weight_decay": 0.5})
    decaying, others = build_optimiser(network, config).param_groups
    assert (len(decaying["params"]), decaying["weight_decay"]) == (1, 0.5)
    assert (len(others["params"]), others["weight_decay"]) == (4, 0.0)
