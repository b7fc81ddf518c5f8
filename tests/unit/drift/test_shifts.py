from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from tokenizers import Tokenizer

from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.texts import TextSplit
from relu_pipeline.drift import shifts
from relu_pipeline.tasks.catalogue import TASKS


@pytest.fixture
def pictures(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(256, size=(60, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def texts(prepared: Path) -> TextSplit:
    split = TASKS["text"].load(prepared / "text", "test")
    assert isinstance(split, TextSplit)
    return split


@pytest.fixture(scope="module")
def tokenizer(prepared: Path) -> Tokenizer:
    return Tokenizer.from_file(str(prepared / "text/tokenizer.json"))


def rows(split: TextSplit) -> list[list[int]]:
    return [part.tolist() for part in split.tokens.split(split.offsets.diff().tolist())]


def test_noise_has_the_stated_spread_and_stays_within_a_byte() -> None:
    grey = np.full((20, 32, 32, 3), 128, dtype=np.uint8)
    noise = shifts.add_noise(grey).astype(float) - 128
    assert noise.mean() == pytest.approx(0, abs=0.2)
    assert noise.std() == pytest.approx(25, abs=0.2)
    white = shifts.add_noise(np.full_like(grey, 255))
    assert white.max() == 255
    assert (white == 255).mean() == pytest.approx(0.5, abs=0.02)


def test_blur_is_the_gaussian_that_scipy_computes(pictures: np.ndarray) -> None:
    expected = gaussian_filter(pictures.astype(float), (0, 1.5, 1.5, 0), mode="mirror", radius=(0, 6, 6, 0))
    assert np.abs(shifts.blur(pictures) - expected).max() <= 0.51


def test_inverting_twice_gives_the_image(pictures: np.ndarray) -> None:
    assert shifts.invert(pictures)[0, 0, 0, 0] == 255 - pictures[0, 0, 0, 0]
    np.testing.assert_array_equal(shifts.invert(shifts.invert(pictures)), pictures)


def test_photographs_are_many_scenes_in_the_images_form(pictures: np.ndarray) -> None:
    found = shifts.photographs(pictures)
    assert (found.shape, found.dtype) == (pictures.shape, np.uint8)
    assert len(np.unique(found.reshape(len(found), -1), axis=0)) == len(found)
    assert np.median(found.std(axis=(1, 2, 3))) > 30


def test_the_digits_are_left_out_where_they_are_the_data(pictures: np.ndarray) -> None:
    split = ImageSplit(torch.from_numpy(pictures), torch.zeros(len(pictures), dtype=torch.int64))
    assert set(shifts.shift_images(split, Path(), False)) - set(shifts.shift_images(split, Path(), True)) == {"digits"}


def test_shuffled_texts_have_the_same_words_in_another_order(texts: TextSplit, tokenizer: Tokenizer) -> None:
    before, after = rows(texts), rows(shifts.shuffle_words(texts, tokenizer))
    assert [sorted(row) for row in before] == [sorted(row) for row in after]
    assert np.mean([one != other for one, other in zip(before, after, strict=True)]) > 0.95


def test_about_half_of_the_words_is_left_out_and_no_text_is_empty(texts: TextSplit, tokenizer: Tokenizer) -> None:
    before, after = rows(texts), rows(shifts.leave_words_out(texts, tokenizer))
    assert len(before) == len(after)
    assert all(row[0] == whole[0] for whole, row in zip(before, after, strict=True))
    assert sum(map(len, after)) / sum(map(len, before)) == pytest.approx(0.5, abs=0.05)


def test_random_words_are_words_of_the_vocabulary(texts: TextSplit, tokenizer: Tokenizer) -> None:
    drawn = shifts.random_words(texts, tokenizer)
    assert [len(row) for row in rows(drawn)] == [len(row) for row in rows(texts)]
    assert shifts.FIRST_WORD <= drawn.tokens.min() < drawn.tokens.max() < tokenizer.get_vocab_size()


def test_the_manual_comes_in_pieces_of_ordinary_length(texts: TextSplit, tokenizer: Tokenizer) -> None:
    pieces = shifts.python_manual(texts, tokenizer)
    assert len(pieces) == len(texts) == len(rows(pieces))
    assert 0.5 < pieces.offsets.diff().float().mean() / texts.offsets.diff().float().mean() < 3


@pytest.mark.parametrize("task", ["image", "text"])
def test_the_same_rows_are_shifted_alike(prepared: Path, task: str) -> None:
    split = shifts.sample(TASKS[task].load(prepared / task, "test"), 50)
    first, second = (shifts.SHIFTS[task](split, prepared / task, False) for _ in range(2))
    every = torch.arange(len(split))
    for name in first:
        torch.testing.assert_close(first[name].gather(every), second[name].gather(every), rtol=0, atol=0)


@pytest.mark.parametrize("task", ["image", "text"])
def test_a_sample_has_whole_rows_in_their_order(prepared: Path, task: str) -> None:
    split = TASKS[task].load(prepared / task, "test")
    assert len(shifts.sample(split, 10_000)) == len(split)
    part = shifts.sample(split, 40)
    known = [split.gather(torch.tensor([row]))[0].tolist() for row in range(len(split))]
    places = [known.index(part.gather(torch.tensor([row]))[0].tolist()) for row in range(40)]
    assert len(part) == 40
    assert task == "text" or places == sorted(places)
    assert all(part.labels[row] == split.labels[place] for row, place in enumerate(places))
