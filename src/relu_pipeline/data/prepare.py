"""Raw files -> train, val and test arrays. The validation split is fixed: no parameter but its size moves it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relu_pipeline import artifacts
from relu_pipeline.artifacts import SPLITS, PreparedMeta, Source, Split
from relu_pipeline.config import PrepareConfig, TaskName, TextPrepareConfig
from relu_pipeline.data import images, texts
from relu_pipeline.data.formats import read_raw
from relu_pipeline.data.randomness import generator
from relu_pipeline.data.tokenizer import train_tokenizer
from relu_pipeline.errors import DataError

SPLIT_SEED = 0


def prepare_images(raw: Path, config: PrepareConfig, out: Path) -> PreparedMeta:
    """`raw`/*.bin -> the arrays of `ImageSplit`. Raises DataError, ArtifactError."""
    pixels, labels = read_raw(raw, "train")
    train, val = stratified_split(labels, config.val_fraction)
    with artifacts.atomic_dir(out) as partial:
        images.save_split(partial, "train", pixels[train], labels[train])
        images.save_split(partial, "val", pixels[val], labels[val])
        images.save_split(partial, "test", *read_raw(raw, "test"))
        return _describe(partial, "image", raw)


def prepare_texts(raw: Path, config: TextPrepareConfig, out: Path) -> PreparedMeta:
    """`raw`/*.csv -> the arrays of `TextSplit`, and the tokenizer of the training split alone.

    Raises DataError, ArtifactError.
    """
    sentences, labels = read_raw(raw, "train")
    train, val = stratified_split(labels, config.val_fraction)
    tokenizer = train_tokenizer(_pick(sentences, train), config.vocab_size, config.max_tokens)
    with artifacts.atomic_dir(out) as partial:
        tokenizer.save(str(partial / artifacts.TOKENIZER))
        texts.save_split(partial, "train", tokenizer, _pick(sentences, train), labels[train])
        texts.save_split(partial, "val", tokenizer, _pick(sentences, val), labels[val])
        texts.save_split(partial, "test", tokenizer, *read_raw(raw, "test"))
        return _describe(partial, "text", raw)


PREPARERS: dict[TaskName, Callable[[Path, Any, Path], PreparedMeta]] = {"image": prepare_images, "text": prepare_texts}


def stratified_split(labels: NDArray[np.int64], val_fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted rows for training and validation; each class gives the same share, to the nearest row.

    A class of two rows or more has one at least in each. Raises DataError if there is none.
    """
    rng = generator(SPLIT_SEED, "split")
    by_class = (rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels))
    val = np.sort(np.concatenate([rows[: _val_rows(len(rows), val_fraction)] for rows in by_class]))
    if not len(val):
        raise DataError("no class has two rows, so there are none to validate on; add rows to the training data")
    return np.setdiff1d(np.arange(len(labels)), val), val


def _val_rows(rows: int, val_fraction: float) -> int:
    return min(max(1, round(rows * val_fraction)), rows - 1)


def _pick(items: Sequence[str], rows: NDArray[np.int64]) -> list[str]:
    return [items[row] for row in rows]


def _describe(folder: Path, task: TaskName, raw: Path) -> PreparedMeta:
    source = artifacts.read(raw / "source.json", Source)
    rows: dict[Split, int] = {split: len(np.load(folder / f"{split}_labels.npy", mmap_mode="r")) for split in SPLITS}
    digests = {split: artifacts.sha256_of(*sorted(folder.glob(f"{split}_*.npy"))) for split in SPLITS}
    meta = PreparedMeta(task=task, source=source, rows=rows, digests=digests)
    artifacts.write(folder / "meta.json", meta)
    return meta
