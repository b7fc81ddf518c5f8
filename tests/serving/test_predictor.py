import asyncio
import json
import shutil
from pathlib import Path
from threading import Event

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer

from relu_pipeline import artifacts
from relu_pipeline.data import ag_news
from relu_pipeline.data.batches import load_split
from relu_pipeline.evaluation.predict import predict
from relu_pipeline.health.zero_shares import answer
from relu_pipeline.models.checkpoint import load_network
from serving.drift import DriftMonitor
from serving.errors import ModelError, RequestError
from serving.http import STRING
from serving.lanes import STANDING_S
from serving.models import MODELS, TextModel
from serving.predictor import Predictor
from serving.schemas import Prediction, Predictions
from serving.sessions import _has_gpu
from serving.settings import DriftSettings, Settings, load_settings
from tests.serving.test_inputs import encode


def test_an_image_is_answered_as_in_training(predictor: Predictor, models: Path, prepared: Path) -> None:
    from PIL import Image

    split = load_split("image", prepared / "image", "val")
    expected = predict(load_network(models / "image/best.ckpt"), split)
    for row in range(20):
        answer = predictor.classify("image", encode(Image.fromarray(split.gather(torch.tensor([row]))[0].numpy())))
        assert answer["label"] == predictor.live["image"].current.labels[expected[row].argmax()]
        assert answer["probability"] == pytest.approx(expected[row].max(), abs=1e-4)


def test_a_text_is_answered_as_in_training(predictor: Predictor, models: Path, prepared: Path, demo_raw: Path) -> None:
    texts, _ = ag_news.read(demo_raw / "ag_news" / ag_news.TEST_FILE, 4)
    expected = predict(load_network(models / "text/best.ckpt"), load_split("text", prepared / "text", "test"))
    answers = predictor.classify_batch("text", texts[:100])["predictions"]
    labels = predictor.live["text"].current.labels
    assert [answer["label"] for answer in answers] == [labels[row.argmax()] for row in expected[:100]]
    np.testing.assert_allclose([answer["probability"] for answer in answers], expected[:100].max(axis=1), atol=1e-4)


def test_the_top_classes_are_ordered_and_named(predictor: Predictor) -> None:
    answer = Prediction.model_validate(predictor.classify("text", "The striker wins the cup final"))
    probabilities = [score.probability for score in answer.top]
    assert probabilities == sorted(probabilities, reverse=True)
    assert (answer.label, answer.probability) == (answer.top[0].label, probabilities[0])
    assert answer.model.version == "demo-0"


def test_an_item_that_cannot_be_read_keeps_its_place_and_harms_no_other(predictor: Predictor) -> None:
    found = predictor.classify_batch("text", ["the cup final", "", "interest rates"])
    first, second, third = Predictions.model_validate(found).predictions
    assert first.label
    assert third.label
    assert second.error is not None
    assert second.error.code == "empty_text"
    alone = predictor.classify("text", "interest rates")
    assert third.probability == pytest.approx(alone["probability"], abs=1e-5)


@pytest.mark.parametrize(("texts", "status"), [([], 400), (["a"] * 257, 413)])
def test_a_batch_of_the_wrong_size_is_a_4xx(predictor: Predictor, texts: list[str], status: int) -> None:
    with pytest.raises(RequestError) as caught:
        predictor.classify_batch("text", texts)
    assert caught.value.status == status


def test_a_string_without_an_end_is_looked_at_once() -> None:
    """Were it tried anew at each of its quotes, a body of some kilobytes would hold a worker for minutes."""
    assert len(STRING.findall(b'"' + b'\\"' * 20_000)) == 1


def with_micro_batches(rows: int | str) -> Settings:
    settings = load_settings()
    return settings.model_copy(update={"queue": settings.queue.model_copy(update={"micro_batch_rows": rows})})


@pytest.mark.parametrize("rows", ["auto", 1, 16])
def test_micro_batches_answer_each_as_alone(models: Path, demo_raw: Path, rows: int | str) -> None:
    predictor = Predictor(models, with_micro_batches(rows))
    texts, _ = ag_news.read(demo_raw / "ag_news" / ag_news.TEST_FILE, 4)
    items = [*texts[:30], "\u0301", *texts[30:40]]

    async def ask_all() -> list[object]:
        return await asyncio.gather(*(predictor.answer("text", item) for item in items), return_exceptions=True)

    for item, found in zip(items, asyncio.run(ask_all()), strict=True):
        if item == "\u0301":
            assert isinstance(found, RequestError)
            assert found.code == "empty_text"
        else:
            alone = predictor.classify("text", item)
            assert found["label"] == alone["label"]
            assert found["probability"] == pytest.approx(alone["probability"], abs=1e-5)
    assert predictor.lanes["text"].max_rows == (rows if rows != "auto" else 64 if _has_gpu() else 1)


def test_more_batches_than_can_be_read_in_time_are_refused_at_once(predictor: Predictor) -> None:
    async def ask_all() -> list[object]:
        asked = [predictor.answer_batch("text", lambda: ["interest rates"]) for _ in range(20)]
        return await asyncio.gather(*asked, return_exceptions=True)

    refused = [found for found in asyncio.run(ask_all()) if isinstance(found, RequestError)]
    assert {error.status for error in refused} == {429}
    assert len(refused) < 20


def test_batches_that_wait_are_answered_however_many_come_after_them(predictor: Predictor) -> None:
    waiting = predictor.settings.queue.max_waiting_bulk
    release = Event()

    def read_at_last() -> list[str]:
        release.wait(10)
        return ["interest rates"]

    async def ask(count: int) -> list["asyncio.Task[dict[str, object]]"]:
        asked = [asyncio.create_task(predictor.answer_batch("text", read_at_last)) for _ in range(count)]
        await asyncio.sleep(1.5 * STANDING_S)
        return asked

    async def ask_all() -> list[object]:
        asked = [*await ask(1), *await ask(waiting), *await ask(3)]
        release.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    answered = [not isinstance(found, RequestError) for found in asyncio.run(ask_all())]
    assert answered == [True] * (1 + waiting) + [False] * 3


def test_a_text_without_words_is_a_4xx(predictor: Predictor) -> None:
    with pytest.raises(RequestError, match="no words"):
        predictor.classify("text", "\u0301")


def test_missing_and_altered_model_files_are_refused(models: Path, tmp_path: Path) -> None:
    copy = tmp_path / "models"
    shutil.copytree(models, copy)
    graph = copy / "image/model.onnx"
    graph.write_bytes(graph.read_bytes() + b"x")
    with pytest.raises(ModelError, match=r"model\.onnx: sha256 is .*the manifest says .*dvc repro"):
        Predictor(copy, load_settings())
    graph.unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: No such file.*dvc repro"):
        Predictor(copy, load_settings())
    (copy / "image/manifest.json").unlink()
    with pytest.raises(ModelError, match=r"manifest\.json: No such file.*RELU_MODELS_DIR"):
        Predictor(copy, load_settings())


def test_the_tokenizer_is_the_one_of_training(models: Path, prepared: Path) -> None:
    served, trained = (
        Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (models / "text", prepared / "text")
    )
    assert served.to_str() == trained.to_str()
    manifest = json.loads((models / "text/manifest.json").read_text())
    assert TextModel(models / "text", load_settings()).labels == manifest["labels"]


def test_the_monitor_sees_the_shares_of_the_answered_rows(models: Path, prepared: Path, demo_raw: Path) -> None:
    texts, _ = ag_news.read(demo_raw / "ag_news" / ag_news.TEST_FILE, 4)
    predictor = Predictor(
        models, load_settings().model_copy(update={"drift": DriftSettings(window=100, threshold=0.2)})
    )
    watch = predictor.live["text"].current.watch
    predictor.classify_batch("text", [*texts[:60], "", *texts[60:90]])
    assert watch.flush().value is None
    predictor.classify_batch("text", texts[90:100])
    found = watch.flush()
    expected = answer(load_network(models / "text/best.ckpt"), load_split("text", prepared / "text", "test"))
    alone = DriftMonitor(predictor.live["text"].current.manifest["relu_baseline"], 100, 0.2).add(
        expected.zero_shares[:100]
    )
    assert found.rows_seen == 100
    assert list(found.by_layer) == expected.layers
    assert found.by_layer == pytest.approx(alone.by_layer)
    assert predictor.live["image"].current.watch.flush().rows_seen == 0


def test_a_graph_that_does_not_count_zeros_is_refused(models: Path, tmp_path: Path) -> None:
    copy = tmp_path / "text"
    shutil.copytree(models / "text", copy)
    graph = onnx.load(copy / "model.onnx")
    del graph.graph.output[1]
    onnx.save(graph, copy / "model.onnx")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = artifacts.sha256_of(copy / "model.onnx")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"model\.onnx: its outputs are not .*zero_shares.*dvc repro"):
        TextModel(copy, load_settings())


@pytest.mark.skipif(_has_gpu(), reason="a GPU is here")
def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(models: Path) -> None:
    with pytest.raises(ModelError, match="device: cuda"):
        TextModel(models / "text", load_settings().model_copy(update={"device": "cuda"}))


@pytest.mark.parametrize("task", ["image", "text"])
def test_either_precision_answers_alike_with_its_own_baseline(models: Path, task: str) -> None:
    settings = load_settings()
    fp32, int8 = (MODELS[task](models / task, settings.model_copy(update={"precision": p})) for p in ("fp32", "int8"))
    assert (fp32.precision, int8.precision) == ("fp32", "int8")
    assert fp32.version.sha256 != int8.version.sha256 == int8.manifest["files"]["model.int8.onnx"]
    samples = json.loads(fp32.files["samples.json"])["samples"]
    answers = [model.run([model.read(model.decode_sample(s["input"])) for s in samples]) for model in (fp32, int8)]
    for exact, rounded in zip(*answers, strict=True):
        assert exact["probability"] == pytest.approx(rounded["probability"], abs=0.1)
    assert int8.watch.monitor.layers == fp32.watch.monitor.layers


def test_a_model_that_answers_its_samples_otherwise_is_refused(models: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(models / "text", tmp_path / "text"))
    samples = json.loads((copy / "samples.json").read_text())
    samples["samples"][0]["probabilities"].reverse()
    (copy / "samples.json").write_text(json.dumps(samples))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["samples.json"] = artifacts.sha256_of(copy / "samples.json")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"model\.onnx: does not answer samples\.json .*dvc repro"):
        TextModel(copy, load_settings())


def test_int8_that_is_wanted_but_loses_too_much_is_an_error(models: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(models / "text", tmp_path / "text"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["int8"]["refused"] = "it loses 0.1"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert TextModel(copy, load_settings()).precision == "fp32"
    with pytest.raises(ModelError, match=r"precision int8 is wanted, but it loses 0\.1"):
        TextModel(copy, load_settings().model_copy(update={"precision": "int8"}))
