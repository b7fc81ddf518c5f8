"""Calibrated probabilities by temperature scaling (Guo et al. 2017, arXiv:1706.04599)."""

import math
import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from relu_pipeline.data.batches import OrderedBatches
from relu_pipeline.models.catalogue import Network

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
BISECTIONS = 40


@dataclass(frozen=True)
class Calibration:
    """Result of temperature scaling: the temperature, and the validation cross-entropy before and after it."""

    temperature: float
    val_loss_before: float
    val_loss_after: float


@torch.no_grad()
def calibrate(network: Network, val: OrderedBatches) -> Calibration:
    """Divide the weights and biases of `network.head` by the temperature that fits the validation split.

    This divides the logits without changing the predicted classes or adding a node to the exported graph. A network
    whose `head` is None is not changed.
    """
    network.eval()
    batches = tqdm(val, "calibration", unit=" batches", leave=False, disable=None)
    device = next(network.parameters()).device
    answers = ((network(inputs.to(device)), labels) for inputs, labels in batches)
    logits_NC, labels_N = (torch.cat(parts).cpu() for parts in zip(*answers, strict=True))
    temperature = 1.0
    if network.head is None:
        print("warning: probabilities not calibrated: the classifier is not a single linear layer", file=sys.stderr)
    else:
        temperature = fit_temperature(logits_NC, labels_N)
        for parameter in network.head.parameters():
            parameter.div_(temperature)
    before, after = (F.cross_entropy(logits_NC / divisor, labels_N).item() for divisor in (1, temperature))
    return Calibration(temperature, before, after)


@torch.enable_grad()
def fit_temperature(logits_NC: Tensor, labels_N: Tensor) -> float:
    """Return the temperature that minimises the cross-entropy of `logits_NC / temperature`, from 0.05 to 20.

    The loss is convex in 1 / temperature, and its minimum is found by bisection of the slope. The labels are smoothed
    by 1 / (N + 2), after Platt (1999): on a small split with only correct predictions, the loss would otherwise be
    lowest at temperature 0, where every probability is 0 or 1.
    """
    logits_NC, smoothing = logits_NC.double(), 1 / (len(labels_N) + 2)
    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    for _ in range(BISECTIONS):
        scale = torch.tensor(math.sqrt(low * high), dtype=torch.float64, requires_grad=True)
        loss = F.cross_entropy(logits_NC * scale, labels_N, label_smoothing=smoothing)
        (slope,) = torch.autograd.grad(loss, scale)
        if slope < 0:
            low = scale.item()
        else:
            high = scale.item()
    return 1 / math.sqrt(low * high)
