"""Predictions of a network or an ONNX graph for a whole split."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from relu_pipeline.data.batches import OrderedBatches, PreparedSplit

BATCH_SIZE = 500
OUTPUT_NAME = "probabilities"  # of the graphs that `export` writes


@torch.no_grad()
def predict(network: nn.Module, split: PreparedSplit) -> NDArray[np.float32]:
    """Return probabilities `[N, C]`, computed in float32 on the device of the network and of the split."""
    network.eval()
    batches = tqdm(OrderedBatches(split, BATCH_SIZE), "torch", unit=" batches", leave=False, disable=None)
    return torch.cat([torch.softmax(network(inputs), dim=1) for inputs, _ in batches]).cpu().numpy()


def predict_onnx(model: Path | bytes, split: PreparedSplit, output: str = OUTPUT_NAME) -> NDArray[np.float32]:
    """Return one of the graph's outputs, `[N, ...]`, computed by ONNX Runtime on the CPU."""
    session = cpu_session(model)
    name = session.get_inputs()[0].name
    batches = tqdm(OrderedBatches(split, BATCH_SIZE), "ONNX Runtime", unit=" batches", leave=False, disable=None)
    return np.concatenate([session.run([output], {name: inputs.numpy()})[0] for inputs, _ in batches])


def cpu_session(model: Path | bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
