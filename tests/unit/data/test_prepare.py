from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from relu_pipeline import artifacts
from relu_pipeline.artifacts import PreparedMeta
from relu_pipeline.config import TextPrepareConfig
from relu_pipeline.data import ag_news, cifar10
from relu_pipeline.data.prepare import prepare_texts
from relu_pipeline.data.splits import stratified_split
from relu_pipeline.errors import DataError
from relu_pipeline.tasks.catalogue import TASKS


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=200), fraction=st.floats(0.01, 0.5))
def test_a_split_is_stratified_and_loses_no_row_and_no_class_of_two_rows(labels: list[int], fraction: float) -> None:
    array = np.array(labels)
    if len(set(labels)) == len(labels):
        with pytest.raises(DataError, match="no class has two different examples"):
            stratified_split(array, fraction)
        return
    train, val = stratified_split(array, fraction)
    assert sorted([*train, *val]) == list(range(len(labels)))
    for label in set(labels):
        of_class = (array == label).sum()
        assert (array[val] == label).sum() == min(max(1, round(of_class * fraction)), of_class - 1)


def test_a_split_is_fixed() -> None:
    labels = np.arange(100) % 3
    np.testing.assert_array_equal(stratified_split(labels, 0.2)[1], stratified_split(labels, 0.2)[1])


def test_prepared_images_are_the_raw_ones(prepared: Path, demo_raw: Path) -> None:
    images, labels = cifar10.read(demo_raw / "cifar10", cifar10.TEST_FILES, 10)
    split = TASKS["image"].load(prepared / "image", "test")
    assert torch.equal(split.gather(torch.arange(len(split))), torch.from_numpy(images))
    assert torch.equal(split.labels, torch.from_numpy(labels))


def test_prepared_texts_are_the_raw_ones_tokenised(prepared: Path, demo_raw: Path) -> None:
    texts, labels = ag_news.read(demo_raw / "ag_news" / ag_news.TEST_FILE, 4)
    tokenizer = Tokenizer.from_file(str(prepared / "text" / artifacts.TOKENIZER))
    split = TASKS["text"].load(prepared / "text", "test")
    expected = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(texts[:50])])
    assert torch.equal(split.gather(torch.arange(50)), expected)
    assert split.labels.tolist() == labels


def test_rows_and_digests_are_recorded(prepared: Path) -> None:
    meta = artifacts.read(prepared / "image" / "meta.json", PreparedMeta)
    assert meta.rows == {"train": 1199, "val": 301, "test": 297}
    assert len(set(meta.digests.values())) == 3


def test_the_tokenizer_sees_the_training_split_alone(demo_raw: Path, tmp_path: Path) -> None:
    texts, numbers = ag_news.read(demo_raw / "ag_news" / ag_news.TRAIN_FILE, 4)
    train, _ = stratified_split(np.array(numbers), 0.2)
    marked = [f"{text} word{row}" for row, text in enumerate(texts)]
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "source.json").write_bytes((demo_raw / "ag_news" / "source.json").read_bytes())
    ag_news.write(raw / ag_news.TRAIN_FILE, [("", text) for text in marked], numbers)
    config = TextPrepareConfig(tokenizer="word", val_fraction=0.2, vocab_size=10_000, max_tokens=64)
    ag_news.write(raw / ag_news.TEST_FILE, [("", "wordless")], [0])
    prepare_texts(raw, config, tmp_path / "text")
    vocabulary = Tokenizer.from_file(str(tmp_path / "text/tokenizer.json")).get_vocab()
    assert {word for word in vocabulary if word.startswith("word")} == {f"word{row}" for row in train}
