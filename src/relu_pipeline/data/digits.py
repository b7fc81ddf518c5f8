"""scikit-learn's handwritten digits (UCI, 1,797 images of 8x8 pixels), enlarged to 32x32."""

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

SIDE = 32


def digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images uint8 `[1797, 32, 32, 3]` and labels uint8 `[1797]`."""
    data = load_digits()
    small = np.rint(data.images * (255 / 16)).astype(np.uint8)
    scale = SIDE // small.shape[1]
    images = np.repeat(small.repeat(scale, axis=1).repeat(scale, axis=2)[..., None], 3, axis=3)
    return images, data.target.astype(np.uint8)
