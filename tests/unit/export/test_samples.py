import base64
import io
from pathlib import Path

import numpy as np
import torch
from onnxruntime import InferenceSession
from PIL import Image
from tokenizers import Tokenizer

from relu_pipeline import artifacts
from relu_pipeline.artifacts import PreparedMeta, Samples
from relu_pipeline.config import TextPrepareConfig
from relu_pipeline.data import ag_news
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.prepare import prepare_texts
from relu_pipeline.data.texts import TextSplit
from relu_pipeline.evaluation.predict import predict_onnx
from relu_pipeline.export.graph import export_graph
from relu_pipeline.export.samples import pick_samples
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tasks.catalogue import TASKS


def make(task: str, trained: Path, prepared: Path, folder: Path) -> tuple[Samples, Path]:
    """The samples of a graph, and the graph."""
    meta, split = artifacts.read(prepared / task / "meta.json", PreparedMeta), TASKS[task].load(prepared / task, "val")
    network = load_network(trained / task / "best.ckpt")
    export_graph(TASKS[task], network, split.gather(torch.arange(2)), 20, folder / "model.onnx")
    return pick_samples(
        meta.source.labels, TASKS[task].to_sample(prepared / task), split, folder / "model.onnx"
    ), folder / "model.onnx"


def test_the_images_are_the_first_of_each_label_pixel_by_pixel(trained: Path, prepared: Path, tmp_path: Path) -> None:
    content, graph = make("image", trained, prepared, tmp_path)
    meta, split = (
        artifacts.read(prepared / "image/meta.json", PreparedMeta),
        TASKS["image"].load(prepared / "image", "val"),
    )
    assert isinstance(split, ImageSplit)
    rows = [int(np.flatnonzero(split.labels.numpy() == label)[0]) for label in range(len(meta.source.labels))]
    answers = predict_onnx(graph, split)
    assert [sample.label for sample in content.samples] == meta.source.labels
    for row, sample in zip(rows, content.samples, strict=True):
        picture = Image.open(io.BytesIO(base64.b64decode(sample.input, validate=True)))
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(picture), split.images_BHWC[row].numpy())
        np.testing.assert_allclose(sample.probabilities, answers[row], atol=1e-6)


def test_the_texts_give_the_token_ids_of_the_first_row_without_an_unknown_word(
    trained: Path, prepared: Path, tmp_path: Path
) -> None:
    content, graph = make("text", trained, prepared, tmp_path)
    meta, split = (
        artifacts.read(prepared / "text/meta.json", PreparedMeta),
        TASKS["text"].load(prepared / "text", "val"),
    )
    assert isinstance(split, TextSplit)
    tokenizer = Tokenizer.from_file(str(prepared / "text/tokenizer.json"))
    session = InferenceSession(graph, providers=["CPUExecutionProvider"])
    unknown, labels = tokenizer.token_to_id("[UNK]"), split.labels.tolist()
    known = [
        unknown not in split.tokens[start:end] for start, end in zip(split.offsets[:-1], split.offsets[1:], strict=True)
    ]
    assert [sample.label for sample in content.samples] == meta.source.labels
    for sample in content.samples:
        wanted = meta.source.labels.index(sample.label)
        row = next(row for row, label in enumerate(labels) if label == wanted and known[row])
        ids = tokenizer.encode(sample.input).ids
        assert ids == split.gather(torch.tensor([row]))[0].tolist()
        (answers,) = session.run(["probabilities"], {"token_ids": np.array([ids])})
        np.testing.assert_allclose(sample.probabilities, answers[0], atol=1e-6)


def test_samples_are_the_same_after_the_file(trained: Path, prepared: Path, tmp_path: Path) -> None:
    content, _ = make("text", trained, prepared, tmp_path)
    artifacts.write(tmp_path / "samples.json", content)
    assert artifacts.read(tmp_path / "samples.json", Samples) == content


def test_texts_of_unknown_words_are_samples_where_there_are_no_others(
    trained: Path, prepared: Path, demo_raw: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "source.json").write_bytes((demo_raw / "ag_news" / "source.json").read_bytes())
    for name in (ag_news.TRAIN_FILE, ag_news.TEST_FILE):
        ag_news.write(raw / name, [("", f"word{row}") for row in range(1000)], [row % 4 for row in range(1000)])
    config = TextPrepareConfig(tokenizer="word", val_fraction=0.2, vocab_size=256, max_tokens=32)
    prepare_texts(raw, config, tmp_path / "text")
    content, _ = make("text", trained, tmp_path, tmp_path)
    assert [sample.input for sample in content.samples] == 4 * ["[UNK]"]
