import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline.describe import describe
from relu_pipeline.models.catalogue import build_network
from relu_pipeline.models.checkpoint import save_checkpoint
from relu_pipeline.models.mlp import MLP
from relu_pipeline.models.plain_cnn import PlainCNN, side_after
from relu_pipeline.models.teaching import TEACHING, teaching_network


def parameters(name: str) -> list[tuple[int, ...]]:
    """Shapes of the weights, without biases."""
    network = build_network(*teaching_network(name))
    return [tuple(p.shape) for p in network.parameters() if p.ndim > 1]


def test_the_mlp_is_784_256_128_10() -> None:
    assert parameters("mlp_28") == [(256, 784), (128, 256), (10, 128)]


def test_the_28x28_cnn_flattens_to_64_times_5_times_5() -> None:
    assert parameters("cnn_28") == [(32, 1, 3, 3), (64, 32, 3, 3), (128, 64 * 5 * 5), (10, 128)]


def test_the_cifar_cnn_flattens_to_64_times_6_times_6() -> None:
    assert parameters("cnn_cifar10") == [(32, 3, 3, 3), (64, 32, 3, 3), (512, 64 * 6 * 6), (10, 512)]


def test_the_64x64_cnn_has_only_its_head_behind_the_convolutions() -> None:
    assert parameters("cnn_64") == [(32, 3, 3, 3), (64, 32, 3, 3), (10, 64 * 14 * 14)]


def test_the_text_mlp_pools_embeddings_of_64_twice_and_has_two_hidden_layers_of_64() -> None:
    assert parameters("text") == [(20_000, 64), (64, 2 * 64), (64, 64), (4, 64)]


@given(
    height=st.integers(10, 40), width=st.integers(10, 40), channels=st.integers(1, 4), convolutions=st.integers(1, 2)
)
def test_the_plain_cnn_fits_any_shape(height: int, width: int, channels: int, convolutions: int) -> None:
    network = PlainCNN(3, (height, width, channels), [2] * convolutions, [4], "relu")
    images = torch.randint(256, (2, height, width, channels), dtype=torch.uint8)
    assert network(images).shape == (2, 3)


def test_an_image_too_small_for_the_convolutions_is_refused() -> None:
    with pytest.raises(ValueError, match="a side of 8 pixels is too small for 2 convolutions"):
        side_after(8, 2)


@pytest.mark.parametrize("activation", ["relu", "prelu", "tanh"])
def test_the_mlp_has_the_activation_that_was_asked_for(activation: str) -> None:
    network = MLP(2, (4, 5, 3), [7, 6], activation)
    found = [type(module).__name__.lower() for module in network.hidden][1::2]
    assert found == [activation, activation]
    assert network(torch.zeros(1, 4, 5, 3, dtype=torch.uint8)).shape == (1, 2)


def test_the_resnet_keeps_the_resolution_of_small_images_until_its_second_stage() -> None:
    network = build_network(*teaching_network("resnet18")).eval()
    seen = []
    network.resnet.layer1.register_forward_hook(lambda _m, _i, output: seen.append(output.shape))
    assert network(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)).shape == (2, 10)
    assert seen == [(2, 64, 32, 32)]


SHAPES = {
    "mlp_28": [28, 28, 1],
    "cnn_28": [28, 28, 1],
    "cnn_cifar10": [32, 32, 3],
    "cnn_64": [64, 64, 3],
    "resnet18": [32, 32, 3],
    "text": [32],
}


@pytest.mark.parametrize("name", TEACHING)
def test_describe_shows_layers_and_answers_a_random_input(name: str) -> None:
    text = describe(name)
    assert "Total params" in text
    assert f"random input of shape {[1, *SHAPES[name]]}: " in text
    assert text == describe(name)


def test_describe_names_the_networks_that_there_are() -> None:
    words = [sys.executable, "-m", "relu_pipeline.cli", "describe", "lenet"]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: lenet: no such network; valid: mlp_28, cnn_28")


def test_a_network_of_two_classes_is_described(tmp_path: Path) -> None:
    settings = {"image_shape": [8, 8, 1], "hidden_dims": [4], "activation": "relu", "num_classes": 2}
    save_checkpoint(tmp_path / "best.ckpt", "mlp", settings, build_network("mlp", settings).state_dict())
    assert describe(str(tmp_path / "best.ckpt")).count("class ") == 2
