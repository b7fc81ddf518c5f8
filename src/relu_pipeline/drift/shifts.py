"""Artificial distribution shifts of a split, some of which the monitor cannot detect.

A shift is deterministic: its random numbers depend only on its name.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images
from tokenizers import Tokenizer
from torchvision.transforms.functional import gaussian_blur

from relu_pipeline.config import TaskName
from relu_pipeline.data.batches import PreparedSplit
from relu_pipeline.data.digits import digits
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.randomness import generator
from relu_pipeline.data.texts import TextSplit
from relu_pipeline.tasks.text import load_tokenizer

SEED = 0
NOISE_STD = 25.0  # of 255
BLUR_SIGMA = 1.5  # pixels
BLUR_KERNEL = 13  # pixels, 4 sigmas on each side
KEPT_WORDS = 0.5
SMALLEST_CROP = 128  # pixels of a photograph; smaller crops show only a texture
FIRST_WORD = 2  # smaller token ids are padding and the unknown word

ImageShift = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
TextShift = Callable[[TextSplit, Tokenizer], TextSplit]


def add_noise(images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    noise = NOISE_STD * generator(SEED, "noise").standard_normal(images_NHWC.shape, dtype=np.float32)
    return np.clip(np.rint(images_NHWC + noise), 0, 255).astype(np.uint8)


def blur(images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    images_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2)
    return gaussian_blur(images_NCHW, [BLUR_KERNEL] * 2, [BLUR_SIGMA] * 2).permute(0, 2, 3, 1).numpy()


def invert(images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return 255 - images_NHWC


def photographs(images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace the images by random square crops of scikit-learn's two sample photographs, a temple and a flower."""
    _, height, width, channels = images_NHWC.shape
    mode = "RGB" if channels == 3 else "L"
    sources = [Image.fromarray(picture).convert(mode) for picture in load_sample_images().images]
    rng = generator(SEED, "photographs")
    crops = [_crop(sources[rng.integers(len(sources))], (height, width), rng) for _ in images_NHWC]
    return np.stack(crops).reshape(images_NHWC.shape)


def _crop(picture: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    side = int(rng.integers(SMALLEST_CROP, min(picture.size), endpoint=True))
    left, upper = (int(rng.integers(length - side, endpoint=True)) for length in picture.size)
    box = (left, upper, left + side, upper + side)
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BOX, box=box))


def handwritten_digits(images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace the images by scikit-learn's handwritten digits, resized; the result may have fewer images."""
    _, height, width, channels = images_NHWC.shape
    pictures = (Image.fromarray(picture) for picture in digits()[0][: len(images_NHWC)])
    resized = [np.asarray(picture.resize((width, height), Image.Resampling.NEAREST)) for picture in pictures]
    return np.stack(resized)[..., :channels]


IMAGE_SHIFTS: dict[str, ImageShift] = {
    "noise": add_noise,
    "blur": blur,
    "inverted": invert,
    "photographs": photographs,
    "digits": handwritten_digits,
}


def shuffle_words(split: TextSplit, _: Tokenizer) -> TextSplit:
    """Shuffle the words of each text; a network that pools over the words cannot detect this."""
    keys = generator(SEED, "shuffled words").random(len(split.tokens))
    order = np.lexsort((keys, _row_of_token(split)))
    return TextSplit(split.tokens[torch.from_numpy(order)], split.offsets, split.labels)


def leave_words_out(split: TextSplit, _: Tokenizer) -> TextSplit:
    """Drop each word with probability 0.5, except the first of each text."""
    kept = generator(SEED, "left out words").random(len(split.tokens)) < KEPT_WORDS
    kept[split.offsets[:-1].numpy()] = True
    lengths = np.bincount(_row_of_token(split)[kept], minlength=len(split))
    return TextSplit(split.tokens[torch.from_numpy(kept)], _offsets(lengths), split.labels)


def random_words(split: TextSplit, tokenizer: Tokenizer) -> TextSplit:
    """Replace the words by random ones, drawn uniformly from the vocabulary."""
    drawn = generator(SEED, "random words").integers(FIRST_WORD, tokenizer.get_vocab_size(), size=len(split.tokens))
    return TextSplit(torch.from_numpy(drawn.astype(np.int32)), split.offsets, split.labels)


def python_manual(split: TextSplit, tokenizer: Tokenizer) -> TextSplit:
    """Replace the texts by pieces of Python's language reference, as long as the median text; there may be fewer."""
    words = " ".join(topics.values()).split()
    length = int(split.offsets.diff().median())
    pieces = [" ".join(words[start : start + length]) for start in range(0, len(words) - length, length)]
    encodings = tokenizer.encode_batch_fast(pieces[: len(split)])
    ids = [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
    offsets = _offsets(np.array([len(row) for row in ids]))
    return TextSplit(torch.from_numpy(np.concatenate(ids)), offsets, split.labels[: len(ids)])


TEXT_SHIFTS: dict[str, TextShift] = {
    "shuffled words": shuffle_words,
    "half of the words": leave_words_out,
    "python manual": python_manual,
    "random words": random_words,
}


def shift_images(split: ImageSplit, prepared: Path, demo: bool) -> dict[str, ImageSplit]:
    """Return the shifted copies by name of the shift. The `demo` data are digits, so "digits" is omitted for them."""
    images = split.images_BHWC.numpy()
    changed = {name: shift(images) for name, shift in IMAGE_SHIFTS.items() if not (demo and name == "digits")}
    return {name: ImageSplit(torch.from_numpy(rows), split.labels[: len(rows)]) for name, rows in changed.items()}


def shift_texts(split: TextSplit, prepared: Path, demo: bool) -> dict[str, TextSplit]:
    """Return the shifted copies by name of the shift."""
    tokenizer = load_tokenizer(prepared)
    return {name: shift(split, tokenizer) for name, shift in TEXT_SHIFTS.items()}


# By task: (split, folder of its prepared data, whether these are the demo data) -> shifted copies by name.
SHIFTS: dict[TaskName, Callable[[Any, Path, bool], Mapping[str, PreparedSplit]]] = {
    "image": shift_images,
    "text": shift_texts,
}


def sample(split: PreparedSplit, size: int) -> PreparedSplit:
    """Return a random sample of at most `size` examples, without replacement and in their original order."""
    return split.take(torch.from_numpy(np.sort(generator(SEED, "rows").permutation(len(split))[:size])))


def _row_of_token(split: TextSplit) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(split)), split.offsets.diff().numpy())


def _offsets(lengths: NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(([0], lengths.cumsum())))
