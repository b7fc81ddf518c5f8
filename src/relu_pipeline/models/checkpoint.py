"""Checkpoints: the name, the constructor arguments and the weights of a trained network in one file."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from relu_pipeline import artifacts
from relu_pipeline.errors import ArtifactError
from relu_pipeline.models.catalogue import Network, build_network


def save_checkpoint(path: Path, network: str, settings: dict[str, Any], weights: dict[str, Tensor]) -> None:
    with artifacts.atomic_file(path) as partial:
        torch.save({"network": network, "settings": settings, "weights": weights}, partial)


def load_network(path: Path) -> Network:
    """Return the network of a checkpoint, on the CPU and in evaluation mode.

    Raises ArtifactError if the file is missing or is not such a checkpoint.
    """
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        network = build_network(content["network"], content["settings"])
        network.load_state_dict(content["weights"])
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; `dvc repro train` creates it") from error
    except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise ArtifactError(f"{path}: not a checkpoint of this version; remake it with `dvc repro --force`") from error
    return network.eval()
