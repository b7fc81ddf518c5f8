"""A network's answers for every row of a split."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from relu_pipeline.data.batches import AnySplit, OrderedBatches

BATCH_SIZE = 500


@torch.no_grad()
def predict(network: nn.Module, split: AnySplit) -> NDArray[np.float32]:
    """Probabilities `[N, C]`, on the CPU in full precision: the same on every machine that trained."""
    network.eval()
    batches = (torch.softmax(network(inputs), dim=1) for inputs, _ in OrderedBatches(split, BATCH_SIZE))
    return torch.cat(list(batches)).numpy()
