import numpy as np
from sklearn.datasets import load_digits

from relu_pipeline.data.digits import digits


def test_each_pixel_becomes_a_grey_square_of_four_whose_white_is_255() -> None:
    images, labels = digits()
    small = load_digits()
    assert images.shape == (1797, 32, 32, 3)
    assert images.max() == 255
    for row in range(4):
        for column in range(4):
            for channel in range(3):
                pixels = images[:, row::4, column::4, channel]
                np.testing.assert_allclose(pixels / 255, small.images / 16, rtol=0, atol=0.5 / 255)
    assert np.array_equal(labels, small.target)
