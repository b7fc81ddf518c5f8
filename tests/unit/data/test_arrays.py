from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from relu_pipeline.data.arrays import memory_mapped

GB = 1 << 30


def test_a_file_larger_than_the_memory_is_read_in_parts(tmp_path: Path) -> None:
    size = psutil.virtual_memory().total + psutil.swap_memory().total + GB
    written = np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.uint8, (size // GB, GB))  # a sparse file
    written[-1, -1] = 7
    written.flush()
    assert memory_mapped(tmp_path / "large.npy")[[0, -1], -1].tolist() == [0, 7]


@pytest.mark.filterwarnings("error")
def test_an_array_is_a_tensor_of_the_same_values(tmp_path: Path, rng: np.random.Generator) -> None:
    array = rng.integers(0, 256, (5, 4), np.uint8)
    np.save(tmp_path / "small.npy", array)
    assert torch.equal(memory_mapped(tmp_path / "small.npy"), torch.from_numpy(array))
