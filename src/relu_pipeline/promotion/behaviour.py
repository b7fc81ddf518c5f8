"""Label-preserving variants of test examples, for invariance tests of a model."""

import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from relu_pipeline.artifacts import PAD_ID
from relu_pipeline.config import TaskName
from relu_pipeline.data.augment import pad_reflect
from relu_pipeline.data.batches import PreparedSplit
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.texts import TextSplit
from relu_pipeline.tasks.text import load_tokenizer

SHIFT = 1 / 16  # of a side


def image_variants(split: ImageSplit, prepared: Path) -> tuple[ImageSplit, dict[str, ImageSplit]]:
    """Return the images, and variants: mirrored, and shifted down and right by a sixteenth of the side."""
    images_BHWC = split.images_BHWC
    height, width = images_BHWC.shape[1:3]
    moved = max(1, round(SHIFT * height))
    shifted = pad_reflect(images_BHWC, moved)[:, :height, :width].contiguous()
    variants = {"mirrored": images_BHWC.flip(2), "shifted": shifted}
    return split, {name: ImageSplit(pixels, split.labels) for name, pixels in variants.items()}


def text_variants(split: TextSplit, prepared: Path) -> tuple[TextSplit, dict[str, TextSplit]]:
    """Return the texts, of known words only, and variants: in capitals, and without punctuation."""
    tokenizer = load_tokenizer(prepared)
    texts = [tokenizer.decode(split.token_ids(row)) for row in range(len(split))]
    without = str.maketrans("", "", string.punctuation)

    def encoded(changed: list[str]) -> TextSplit:
        ids = [encoding.ids or [PAD_ID] for encoding in tokenizer.encode_batch_fast(changed)]
        tokens = torch.tensor([token for row in ids for token in row], dtype=torch.int32)
        return TextSplit(tokens, torch.from_numpy(np.cumsum([0, *map(len, ids)])), split.labels)

    capitals, bare = [text.upper() for text in texts], [text.translate(without) for text in texts]
    return encoded(texts), {"in capitals": encoded(capitals), "without punctuation": encoded(bare)}


# By task: maps a split and the folder of its prepared data to reference examples, and their variants by name.
VARIANTS: dict[TaskName, Callable[[Any, Path], tuple[PreparedSplit, Mapping[str, PreparedSplit]]]] = {
    "image": image_variants,
    "text": text_variants,
}
