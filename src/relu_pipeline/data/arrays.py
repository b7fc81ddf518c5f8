"""Arrays that stay in their files."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def memory_mapped(path: Path) -> Tensor:
    """Return the array of an .npy file as a tensor that must not be written to.

    The file may be larger than the memory: a copy-on-write map would be charged against it.
    """
    array = np.load(path, mmap_mode="r")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
