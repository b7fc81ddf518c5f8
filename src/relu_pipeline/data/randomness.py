"""Counter-based random numbers: each (seed, stream, epoch) has its own sequence, independent of earlier draws."""

import zlib

import numpy as np


def generator(seed: int, stream: str, epoch: int = 0) -> np.random.Generator:
    """Return a Philox generator (Salmon et al. 2011) keyed by `seed` and `stream`, the name of what is drawn."""
    return np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(stream.encode())], counter=[0, 0, 0, epoch]))
