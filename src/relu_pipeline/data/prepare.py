"""Raw files -> train, val and test arrays. The validation split is fixed: no parameter but its size moves it."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from relu_pipeline import artifacts
from relu_pipeline.artifacts import SPLITS, PreparedMeta, Source, Split
from relu_pipeline.config import PrepareConfig, TaskName, TextPrepareConfig
from relu_pipeline.data import ag_news, cifar10, images, texts
from relu_pipeline.data.randomness import generator
from relu_pipeline.data.tokenizer import train_tokenizer

SPLIT_SEED = 0
TOKENIZER_FILE = artifacts.models_dir("text") / artifacts.TOKENIZER


def prepare_images(raw: Path, config: PrepareConfig, out: Path) -> PreparedMeta:
    """`raw`/*.bin -> the arrays of `ImageSplit`. Raises DataError, ArtifactError."""
    source = artifacts.read(raw / "source.json", Source)
    pixels, labels = cifar10.read(raw, cifar10.TRAIN_FILES, len(source.labels))
    train, val = stratified_split(labels, config.val_fraction)
    with artifacts.atomic_dir(out) as partial:
        images.save_split(partial, "train", pixels[train], labels[train])
        images.save_split(partial, "val", pixels[val], labels[val])
        images.save_split(partial, "test", *cifar10.read(raw, cifar10.TEST_FILES, len(source.labels)))
        return _describe(partial, "image", source)


def fit_tokenizer(raw: Path, config: TextPrepareConfig, out: Path) -> int:
    """Train the tokenizer on the training split alone; gives the size of its vocabulary."""
    sentences, labels = read_texts(raw, ag_news.TRAIN_FILE)
    train, _ = stratified_split(labels, config.val_fraction)
    tokenizer = train_tokenizer(_pick(sentences, train), config.vocab_size, config.max_tokens)
    with artifacts.atomic_file(out) as partial:
        tokenizer.save(str(partial))
    return tokenizer.get_vocab_size()


def prepare_texts(
    raw: Path,
    config: TextPrepareConfig,
    out: Path,
    tokenizer: Path = TOKENIZER_FILE,
) -> PreparedMeta:
    """`raw`/*.csv -> the arrays of `TextSplit`, and a copy of `tokenizer`. Raises DataError, ArtifactError."""
    source = artifacts.read(raw / "source.json", Source)
    sentences, labels = read_texts(raw, ag_news.TRAIN_FILE)
    train, val = stratified_split(labels, config.val_fraction)
    encoder = Tokenizer.from_file(str(tokenizer))
    with artifacts.atomic_dir(out) as partial:
        shutil.copyfile(tokenizer, partial / artifacts.TOKENIZER)
        texts.save_split(partial, "train", encoder, _pick(sentences, train), labels[train])
        texts.save_split(partial, "val", encoder, _pick(sentences, val), labels[val])
        texts.save_split(partial, "test", encoder, *read_texts(raw, ag_news.TEST_FILE))
        return _describe(partial, "text", source)


PREPARERS: dict[TaskName, Callable[[Path, Any, Path], PreparedMeta]] = {"image": prepare_images, "text": prepare_texts}


def read_texts(raw: Path, name: str) -> tuple[list[str], NDArray[np.int64]]:
    """Texts and labels of a raw file. Raises DataError, ArtifactError."""
    sentences, labels = ag_news.read(raw / name, len(artifacts.read(raw / "source.json", Source).labels))
    return sentences, np.array(labels, dtype=np.int64)


def stratified_split(labels: NDArray[np.int64], val_fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted rows for training and validation; each class gives the same share, to the nearest row."""
    rng = generator(SPLIT_SEED, "split")
    by_class = (rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels))
    val = np.sort(np.concatenate([rows[: round(len(rows) * val_fraction)] for rows in by_class]))
    return np.setdiff1d(np.arange(len(labels)), val), val


def _pick(items: Sequence[str], rows: NDArray[np.int64]) -> list[str]:
    return [items[row] for row in rows]


def _describe(folder: Path, task: TaskName, source: Source) -> PreparedMeta:
    rows: dict[Split, int] = {split: len(np.load(folder / f"{split}_labels.npy", mmap_mode="r")) for split in SPLITS}
    digests = {split: artifacts.sha256_of(*sorted(folder.glob(f"{split}_*.npy"))) for split in SPLITS}
    meta = PreparedMeta(task=task, source=source, rows=rows, digests=digests)
    artifacts.write(folder / "meta.json", meta)
    return meta
