"""The places that know a network by its name agree."""

from typing import get_args

import pytest
import torch

from relu_pipeline.config import ImageModelConfig, load_params
from relu_pipeline.models.catalogue import NETWORKS, build_network

IN_PARAMS = get_args(ImageModelConfig.model_fields["name"].annotation)


def test_every_image_network_can_be_chosen_in_params() -> None:
    assert set(IN_PARAMS) == set(NETWORKS) - {"text_mlp"}, "name it in ImageModelConfig.name of config.py as well"


@pytest.mark.parametrize("name", IN_PARAMS)
def test_an_image_network_is_built_from_its_section_and_the_data_alone(name: str) -> None:
    model = load_params().image.model.model_copy(update={"name": name})
    network = build_network(name, model.settings | {"num_classes": 3, "image_shape": [32, 32, 3]}).eval()
    assert network(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)).shape == (2, 3)
    assert network.image_shape == (32, 32, 3)
