import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline.data.augment import AugmentedImages, ThinnedTexts, pad_reflect
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.texts import TextSplit


def images(count: int, rng: np.random.Generator) -> ImageSplit:
    pixels = rng.integers(256, size=(count, 8, 6, 3), dtype=np.uint8)
    return ImageSplit(torch.from_numpy(pixels), torch.arange(count))


def augmented(split: ImageSplit, **changes: float) -> AugmentedImages:
    return AugmentedImages(split, **{"padding": 0, "flip": False, "erasing": 0.0, "colour": 0.0, "seed": 0} | changes)


@given(padding=st.integers(0, 5), height=st.integers(6, 9), width=st.integers(6, 9))
def test_padding_reflects_as_numpys(padding: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(2, height, width, 3), dtype=np.uint8)
    expected = np.pad(pixels, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="reflect")
    assert np.array_equal(pad_reflect(torch.from_numpy(pixels), padding), expected)


def test_without_padding_and_flip_nothing_changes(rng: np.random.Generator) -> None:
    split = images(5, rng)
    rows = augmented(split)
    rows.draw(3)
    assert torch.equal(rows.gather(torch.arange(5)), split.images_BHWC)


def test_an_image_becomes_a_window_of_its_reflected_self_or_the_mirror_of_one(rng: np.random.Generator) -> None:
    split = images(40, rng)
    rows = augmented(split, padding=2, flip=True)
    rows.draw(0)
    seen = set()
    for image, result in zip(split.images_BHWC.numpy(), rows.gather(torch.arange(40)).numpy(), strict=True):
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
    rows = augmented(split, flip=True)
    rows.draw(4)
    first = rows.gather(torch.arange(30))
    rows.draw(5)
    assert torch.equal(rows.gather(torch.arange(30)), first.flip(2))
    flipped = (first == split.images_BHWC.flip(2)).flatten(1).all(dim=1)
    assert 5 < int(flipped.sum()) < 25


def test_erasing_covers_a_square_of_its_share_anywhere_anew_in_each_epoch(rng: np.random.Generator) -> None:
    split = ImageSplit(torch.full((400, 16, 16, 3), 7, dtype=torch.uint8), torch.arange(400))
    rows = augmented(split, erasing=0.5)
    rows.draw(0)
    first = rows.gather(torch.arange(400))
    assert set(first.unique().tolist()) == {7, 128}
    erased = first[..., 0] == 128
    tall, wide = erased.any(dim=2).sum(dim=1), erased.any(dim=1).sum(dim=1)
    assert torch.equal(erased.sum(dim=(1, 2)), tall * wide)  # a rectangle without holes
    assert (tall.max(), wide.max()) == (8, 8)
    assert erased.float().mean(dim=0).min() > 0.05  # every pixel is covered in some images
    rows.draw(1)
    assert not torch.equal(rows.gather(torch.arange(400)), first)


def test_colour_changes_scale_and_level_of_each_channel_by_no_more_than_its_share(rng: np.random.Generator) -> None:
    split = ImageSplit(torch.full((500, 2, 2, 3), 100, dtype=torch.uint8), torch.arange(500))
    rows = augmented(split, colour=0.2)
    rows.draw(0)
    pixels = rows.gather(torch.arange(500)).float()
    assert torch.equal(pixels.amax(dim=(1, 2)), pixels.amin(dim=(1, 2)))  # one change for the whole image
    assert 29 <= pixels.min() < 45  # 100 * 0.8 - 51
    assert 155 < pixels.max() <= 171
    assert (pixels[..., 0] != pixels[..., 1]).float().mean() > 0.9
    white = ImageSplit(torch.full((50, 2, 2, 3), 255, dtype=torch.uint8), torch.arange(50))
    rows = augmented(white, colour=0.2)
    rows.draw(0)
    assert rows.gather(torch.arange(50)).min() > 150  # clipped, not wrapped around


def test_word_dropout_leaves_the_share_out_and_changes_no_other_token() -> None:
    split = TextSplit(torch.full((10_000,), 7, dtype=torch.int32), torch.arange(0, 10_001, 50), torch.zeros(200))
    thinned = ThinnedTexts(split, 0.3, seed=0)
    thinned.draw(0)
    ids = thinned.gather(torch.arange(200))
    assert set(ids.unique().tolist()) == {0, 7}
    assert abs((ids == 0).float().mean().item() - 0.3) < 0.02


def test_word_dropout_drops_the_token_at_each_place_in_its_share_of_the_epochs() -> None:
    split = TextSplit(torch.full((3,), 7, dtype=torch.int32), torch.tensor([0, 3]), torch.zeros(1))
    thinned, dropped = ThinnedTexts(split, 0.9, seed=0), torch.zeros(3)
    for epoch in range(100):
        thinned.draw(epoch)
        dropped += thinned.gather(torch.tensor([0]))[0] == 0
    assert ((dropped > 70) & (dropped < 100)).all()
