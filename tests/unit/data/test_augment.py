import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline.data.augment import ShiftedImages, ThinnedTexts, pad_reflect
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.texts import TextSplit


def images(count: int, rng: np.random.Generator) -> ImageSplit:
    pixels = rng.integers(256, size=(count, 8, 6, 3), dtype=np.uint8)
    return ImageSplit(torch.from_numpy(pixels), torch.arange(count))


@given(padding=st.integers(0, 5), height=st.integers(6, 9), width=st.integers(6, 9))
def test_padding_reflects_as_numpys(padding: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(2, height, width, 3), dtype=np.uint8)
    expected = np.pad(pixels, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="reflect")
    assert np.array_equal(pad_reflect(torch.from_numpy(pixels), padding), expected)


def test_without_padding_and_flip_nothing_changes(rng: np.random.Generator) -> None:
    split = images(5, rng)
    shifted = ShiftedImages(split, 0, False, seed=0)
    shifted.draw(3)
    assert torch.equal(shifted.gather(torch.arange(5)), split.images_BHWC)


def test_an_image_becomes_a_window_of_its_reflected_self_or_the_mirror_of_one(rng: np.random.Generator) -> None:
    split = images(40, rng)
    shifted = ShiftedImages(split, 2, True, seed=0)
    shifted.draw(0)
    seen = set()
    for image, result in zip(split.images_BHWC.numpy(), shifted.gather(torch.arange(40)).numpy(), strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        windows = {
            (down, right, flip): padded[down : down + 8, right : right + 6][:, :: -1 if flip else 1]
            for down in range(5)
            for right in range(5)
            for flip in (False, True)
        }
        matching = [key for key, window in windows.items() if np.array_equal(window, result)]
        assert matching
        seen.add(matching[0])
    assert len(seen) > 15


def test_two_epochs_in_a_row_show_an_image_and_its_mirror(rng: np.random.Generator) -> None:
    split = images(30, rng)
    shifted = ShiftedImages(split, 0, True, seed=0)
    shifted.draw(4)
    first = shifted.gather(torch.arange(30))
    shifted.draw(5)
    assert torch.equal(shifted.gather(torch.arange(30)), first.flip(2))
    flipped = (first == split.images_BHWC.flip(2)).flatten(1).all(dim=1)
    assert 5 < int(flipped.sum()) < 25


def test_word_dropout_leaves_the_share_out_and_changes_no_other_token() -> None:
    split = TextSplit(torch.full((10_000,), 7, dtype=torch.int32), torch.arange(0, 10_001, 50), torch.zeros(200))
    thinned = ThinnedTexts(split, 0.3, seed=0)
    thinned.draw(0)
    ids = thinned.gather(torch.arange(200))
    assert set(ids.unique().tolist()) == {0, 7}
    assert abs((ids == 0).float().mean().item() - 0.3) < 0.02
