import numpy as np
from torch import nn

from relu_pipeline.pruning.cost import multiply_adds
from tests.unit.pruning.networks import CLASSES, exported


def test_multiply_adds_are_outputs_times_weights_of_one_output() -> None:
    convolutions = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 5), nn.ReLU()]
    model = exported(*convolutions, nn.Flatten(), nn.Linear(2 * 4 * 4, CLASSES))
    row = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    assert multiply_adds(model, row) == 6 * 8 * 8 * (3 * 3 * 3) + 2 * 4 * 4 * (6 * 5 * 5) + 2 * 4 * 4 * CLASSES
