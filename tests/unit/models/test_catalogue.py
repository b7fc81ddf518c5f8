"""Every network that params.yaml can choose."""

import pytest
import torch

from relu_pipeline.config import IMAGE_NETWORKS, load_params
from relu_pipeline.models.catalogue import build_network


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_an_image_network_is_built_from_its_section_and_the_data_alone(name: str) -> None:
    model = load_params().image.model.model_copy(update={"name": name})
    network = build_network(name, model.settings | {"num_classes": 3, "image_shape": [32, 32, 3]}).eval()
    assert network(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)).shape == (2, 3)
    assert network.image_shape == (32, 32, 3)
