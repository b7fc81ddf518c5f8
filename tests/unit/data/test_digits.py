import numpy as np
from sklearn.datasets import load_digits

from relu_pipeline.data.digits import digits


def test_each_pixel_becomes_a_grey_square_of_four_whose_white_is_255() -> None:
    images, labels = digits()
    small = load_digits()
    squares = small.images.repeat(4, axis=1).repeat(4, axis=2)[..., None].repeat(3, axis=3)
    assert images.shape == squares.shape == (1797, 32, 32, 3)
    np.testing.assert_allclose(images / 255, squares / 16, rtol=0, atol=0.5 / 255)
    assert np.array_equal(labels, small.target)
