from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from relu_pipeline.config import load_params
from relu_pipeline.models.catalogue import build_network
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


def test_frozen_weights_are_left_out_and_each_kind_gets_its_rate_and_decay() -> None:
    network = nn.Sequential(
        nn.Embedding(5, 2), nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)
    )
    network[4].weight.requires_grad_(False)
    changes = {"learning_rate": 0.5, "embedding_learning_rate": 8.0, "weight_decay": 0.64}
    groups = build_optimiser(network, load_params().text.train.model_copy(update=changes)).param_groups
    found = [(len(group["params"]), group["lr"], group["momentum"], group["weight_decay"]) for group in groups]
    assert found == [(2, 0.5, 0.9, 0.64), (4, 0.5, 0.9, 0.0), (1, 32.0, 0.9, 0.01), (1, 8.0, 0.0, 0.0)]


def test_synchronised_batch_norms_get_the_rates_of_others() -> None:
    config = load_params().image
    settings = config.model.residual_cnn.model_dump() | {"num_classes": 10, "image_shape": (32, 32, 3)}
    network = build_network("residual_cnn", settings)
    groups = [build_optimiser(network, config.train).param_groups]
    groups.append(build_optimiser(nn.SyncBatchNorm.convert_sync_batchnorm(network), config.train).param_groups)
    alone, synchronised = ([(len(group["params"]), group["lr"]) for group in of_one] for of_one in groups)
    assert alone == synchronised


def test_scales_of_norms_and_slopes_do_not_decay() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.PReLU(), nn.GroupNorm(1, 3))
    decayed, others = build_optimiser(network, load_params().image.train).param_groups
    assert [tuple(parameter.shape) for parameter in decayed["params"]] == [(3, 2)]
    assert others["weight_decay"] == 0


def test_the_biases_of_scaled_norms_get_no_faster_rate() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    groups = build_optimiser(network, load_params().image.train).param_groups
    assert {group["lr"] for group in groups} == {load_params().image.train.learning_rate}
