"""What params.yaml leaves to the data is settled by them: epochs, batches, sizes and rates."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer, models

from relu_pipeline import artifacts
from relu_pipeline.config import load_params
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.texts import TextSplit
from relu_pipeline.task import Budget
from relu_pipeline.tasks.catalogue import TASKS

PARAMS = load_params()


def images(count: int, side: int = 32) -> ImageSplit:
    one = torch.zeros((1, side, side, 3), dtype=torch.uint8)
    return ImageSplit(one.expand(count, -1, -1, -1), torch.zeros(count, dtype=torch.int64))


def texts(count: int, length: int) -> TextSplit:
    offsets = torch.arange(count + 1) * length
    return TextSplit(torch.ones(count * length, dtype=torch.int32), offsets, torch.zeros(count, dtype=torch.int64))


def test_cifar10_and_ag_news_are_trained_as_they_were_tuned() -> None:
    train = TASKS["image"].settle(PARAMS.image, images(45_000), 10).train
    assert (train.max_epochs, train.batch_size, train.learning_rate) == (24, 256, 0.3)
    settled = TASKS["text"].settle(PARAMS.text, texts(50_164, 43), 4)
    assert (settled.train.max_epochs, settled.train.batch_size, settled.train.word_dropout) == (5, 512, 0.4)
    assert (settled.model.embedding_dim, settled.model.hidden_dims) == (64, [64, 64])


def test_small_data_get_more_epochs_of_smaller_batches_at_a_lower_rate() -> None:
    train = TASKS["image"].settle(PARAMS.image, images(1487, 64), 10).train
    assert (train.max_epochs, train.batch_size, train.learning_rate) == (60, 32, 0.3 * 32 / 256)
    settled = TASKS["text"].settle(PARAMS.text, texts(9504, 12), 77)
    assert (settled.train.max_epochs, settled.train.batch_size) == (20, 64)
    assert settled.train.word_dropout == pytest.approx(1 / 6)
    assert (settled.model.embedding_dim, settled.model.hidden_dims) == (128, [256])


@pytest.mark.parametrize("task", ["image", "text"])
def test_what_is_given_stays(task: str) -> None:
    split = images(5000) if task == "image" else texts(5000, 9)
    once = TASKS[task].settle(getattr(PARAMS, task), split, 20)
    assert TASKS[task].settle(once, images(9) if task == "image" else texts(9, 99), 2) == once


@given(rows=st.integers(1, 10**7), least=st.integers(1, 50), more=st.integers(0, 200))
def test_a_budget_keeps_its_bounds_and_falls_with_the_rows(rows: int, least: int, more: int) -> None:
    budget = Budget(10**6, (least, least + more), (32, 512))
    assert least <= budget.epochs_for(rows) <= least + more
    assert budget.epochs_for(rows) >= budget.epochs_for(rows + 1)
    size = budget.batch_size_for(rows)
    assert 32 <= size <= 512
    assert np.log2(size).is_integer()


@given(length=st.integers(0, 200), num_classes=st.integers(2, 200))
def test_word_dropout_leaves_ten_words_and_each_class_has_a_feature(length: int, num_classes: int) -> None:
    settled = TASKS["text"].settle(PARAMS.text, texts(100, length), num_classes)
    assert 0 <= settled.train.word_dropout <= 0.4
    assert (1 - settled.train.word_dropout) * length >= min(length, 10) - 1e-9
    assert settled.model.embedding_dim >= num_classes


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_sample_of_an_image_is_its_png_in_base64(rng: np.random.Generator, channels: int, mode: str) -> None:
    pixels_1HWC = rng.integers(256, size=(1, 5, 7, channels), dtype=np.uint8)
    sample = TASKS["image"].to_sample(Path())(torch.from_numpy(pixels_1HWC))
    with Image.open(io.BytesIO(base64.b64decode(sample)), formats=["PNG"]) as image:
        assert image.mode == mode
        np.testing.assert_array_equal(np.asarray(image).reshape(pixels_1HWC.shape), pixels_1HWC)


def test_each_token_has_an_embedding_and_a_sample_is_a_text_that_the_tokenizer_reads_back(tmp_path: Path) -> None:
    words = models.WordLevel({"[PAD]": 0, "[UNK]": 1, "goal": 2}, unk_token="[UNK]")
    Tokenizer(words).save(str(tmp_path / artifacts.TOKENIZER))
    assert TASKS["text"].network_settings(texts(1, 1), tmp_path) == {"vocab_size": 3}
    sample = TASKS["text"].to_sample(tmp_path)
    assert sample(torch.tensor([[2]])) == "goal"
    assert sample(torch.tensor([[2, 1]])) is None  # this tokenizer does not split texts into words


@pytest.mark.parametrize(("num_classes", "hidden_dims"), [(16, [64, 64]), (17, [128])])
def test_texts_of_more_than_16_classes_get_one_wide_layer(num_classes: int, hidden_dims: list[int]) -> None:
    assert TASKS["text"].settle(PARAMS.text, texts(9504, 12), num_classes).model.hidden_dims == hidden_dims
