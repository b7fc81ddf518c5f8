"""Preparation of raw data as training, validation and test arrays. The validation split depends only on its size."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relu_pipeline import artifacts
from relu_pipeline.artifacts import SPLITS, PreparedMeta, Source, Split
from relu_pipeline.config import ImagePrepareConfig, TaskName, TextPrepareConfig, is_auto
from relu_pipeline.data import packing, texts
from relu_pipeline.data.formats import read_raw
from relu_pipeline.data.splits import stratified_split
from relu_pipeline.data.tokenizer import train_tokenizer

Items = tuple[list[Any], NDArray[np.int64]]  # and their labels
Skipped = Mapping[Split, Sequence[int]]  # indices of the raw examples to exclude
NONE: Skipped = MappingProxyType({})


def prepare_images(raw: Path, config: ImagePrepareConfig, out: Path, unreadable: Skipped = NONE) -> PreparedMeta:
    """Write the arrays that `ImageSplit` loads. Raises DataError, ArtifactError."""
    splits = read_splits(raw, config.val_fraction, unreadable)
    side = packing.automatic_side(splits["train"][0]) if is_auto(config.size) else config.size
    with artifacts.atomic_dir(out) as partial:
        for split, (pictures, labels) in splits.items():
            packing.save_split(partial, split, pictures, labels, side)
        if (
            artifacts.read(raw / artifacts.SOURCE, Source).format == "image_folder"
        ):  # CIFAR-10's format always has three channels
            packing.drop_colours_of_grey(partial, SPLITS)
        return _describe(partial, "image", raw)


def prepare_texts(raw: Path, config: TextPrepareConfig, out: Path, unreadable: Skipped = NONE) -> PreparedMeta:
    """Train a tokenizer on the training split; write it and the arrays that `TextSplit` loads.

    Raises DataError, ArtifactError.
    """
    splits = read_splits(raw, config.val_fraction, unreadable)
    tokenizer = train_tokenizer(splits["train"][0], config.vocab_size, config.max_tokens, config.tokenizer)
    with artifacts.atomic_dir(out) as partial:
        tokenizer.save(str(partial / artifacts.TOKENIZER))
        for split, (sentences, labels) in splits.items():
            texts.save_split(partial, split, tokenizer, sentences, labels)
        return _describe(partial, "text", raw)


PREPARERS: dict[TaskName, Callable[[Path, Any, Path, Skipped], PreparedMeta]] = {
    "image": prepare_images,
    "text": prepare_texts,
}


def read_splits(raw: Path, val_fraction: float, unreadable: Skipped = NONE) -> dict[Split, Items]:
    """Return the items and labels of each split; without a validation split, split one off the training split."""
    source = artifacts.read(raw / artifacts.SOURCE, Source)
    splits = {split: _read_split(raw, split, unreadable.get(split, ())) for split in source.rows}
    if "val" not in splits:
        items, labels = splits["train"]
        train_rows, val_rows = stratified_split(labels, val_fraction)
        splits["train"] = [items[row] for row in train_rows], labels[train_rows]
        splits["val"] = [items[row] for row in val_rows], labels[val_rows]
    return splits


def _read_split(raw: Path, split: Split, unreadable: Sequence[int]) -> Items:
    items, labels = read_raw(raw, split)
    rows = np.setdiff1d(np.arange(len(labels)), unreadable)
    return [items[row] for row in rows], labels[rows]


def _describe(folder: Path, task: TaskName, raw: Path) -> PreparedMeta:
    source = artifacts.read(raw / artifacts.SOURCE, Source)
    rows: dict[Split, int] = {split: len(np.load(folder / f"{split}_labels.npy", mmap_mode="r")) for split in SPLITS}
    digests = {split: artifacts.sha256_of(*sorted(folder.glob(f"{split}_*.npy"))) for split in SPLITS}
    meta = PreparedMeta(task=task, source=source, rows=rows, digests=digests)
    artifacts.write(folder / artifacts.META, meta)
    return meta
