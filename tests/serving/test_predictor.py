"""Predictor: the same predictions as in training, whichever way an item takes, and models that are refused."""

import asyncio
import json
import shutil
from pathlib import Path
from threading import Event

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from prometheus_client import REGISTRY
from starlette.requests import ClientDisconnect
from starlette.types import Message
from tokenizers import Tokenizer

from relu_pipeline import artifacts
from relu_pipeline.data import ag_news
from relu_pipeline.evaluation.predict import predict
from relu_pipeline.health.zero_shares import answer
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tasks.catalogue import TASKS
from serving.drift import DriftMonitor
from serving.errors import ModelError, RequestError
from serving.model import MODELS, TextModel, load_model
from serving.onnx_session import has_gpu
from serving.predictor import Predictor
from serving.schemas import Prediction, Predictions
from serving.settings import DriftSettings, InlineSettings, Settings, load_settings
from tests.serving.safety.pictures import encode, picture

NOT_INLINE = InlineSettings(image_bytes=1, image_pixels=1, text_chars=1)


async def receive() -> Message:
    """Of a client that waits for its answer."""
    return await asyncio.Event().wait() or {}


def change_settings(**changes: object) -> Settings:
    return load_settings().model_copy(update=changes)


def read_test_texts(demo_raw: Path) -> list[str]:
    return ag_news.read(demo_raw / "ag_news" / ag_news.TEST_FILE, 4)[0]


def test_an_image_is_answered_as_in_training(predictor: Predictor, trained: Path, prepared: Path) -> None:
    split = TASKS["image"].load(prepared / "image", "val")
    expected = predict(load_network(trained / "image/best.ckpt"), split)
    for row in range(20):
        answer = predictor.classify("image", encode(Image.fromarray(split.gather(torch.tensor([row]))[0].numpy())))
        assert answer["label"] == predictor.stores["image"].current.labels[expected[row].argmax()]
        assert answer["probability"] == pytest.approx(expected[row].max(), abs=1e-4)


def test_a_text_is_answered_as_in_training(predictor: Predictor, trained: Path, prepared: Path, demo_raw: Path) -> None:
    expected = predict(load_network(trained / "text/best.ckpt"), TASKS["text"].load(prepared / "text", "test"))
    answers = predictor.classify_batch("text", read_test_texts(demo_raw)[:100])["predictions"]
    labels = predictor.stores["text"].current.labels
    assert [answer["label"] for answer in answers] == [labels[row.argmax()] for row in expected[:100]]
    np.testing.assert_allclose([answer["probability"] for answer in answers], expected[:100].max(axis=1), atol=1e-4)


def test_the_top_classes_are_ordered_and_named(predictor: Predictor) -> None:
    answer = Prediction.model_validate(predictor.classify("text", "The striker wins the cup final"))
    probabilities = [score.probability for score in answer.top]
    assert probabilities == sorted(probabilities, reverse=True)
    assert (answer.label, answer.probability) == (answer.top[0].label, probabilities[0])
    assert answer.model.version == predictor.stores["text"].current.manifest["version"]


def test_as_many_classes_are_named_as_the_settings_say(models: Path) -> None:
    predictor = Predictor(models, change_settings(top=2))
    (first, second) = predictor.classify("image", encode(picture()))["top"]
    assert 0 < second["probability"] <= first["probability"]


@pytest.mark.parametrize(("broken", "code"), [("", "empty_text"), ("\ud800", "invalid_text"), ("\u0301", "empty_text")])
def test_an_error_of_one_item_keeps_its_place_and_harms_no_other_item(
    predictor: Predictor, broken: str, code: str
) -> None:
    found = predictor.classify_batch("text", ["the cup final", broken, "interest rates"])
    first, second, third = Predictions.model_validate(found).predictions
    assert first.label
    assert first.error is third.error is second.label is None
    assert second.error is not None
    assert second.error.code == code
    alone = predictor.classify("text", "interest rates")
    assert third.probability == pytest.approx(alone["probability"], abs=1e-5)


def test_a_batch_may_consist_of_errors_alone(predictor: Predictor) -> None:
    found = Predictions.model_validate(predictor.classify_batch("image", [b"", b"no image"]))
    assert [item.error and item.error.code for item in found.predictions] == ["empty_image", "invalid_image"]


@pytest.mark.parametrize(("texts", "status"), [([], 400), (["a"] * 257, 413)])
def test_a_batch_of_the_wrong_size_is_an_error(predictor: Predictor, texts: list[str], status: int) -> None:
    with pytest.raises(RequestError) as caught:
        predictor.classify_batch("text", texts)
    assert (caught.value.status, caught.value.code) == (status, "wrong_item_count")
    with pytest.raises(RequestError) as caught:
        asyncio.run(predictor.answer_batch("text", lambda: texts, receive))
    assert (caught.value.status, caught.value.code) == (status, "wrong_item_count")


def test_a_batch_of_a_client_that_has_left_is_not_run(predictor: Predictor) -> None:
    given_up = Event()
    given_up.set()
    seen = predictor.stores["text"].current.watch.record().rows_seen
    with pytest.raises(ClientDisconnect):
        predictor.classify_batch("text", ["interest rates"] * 100, given_up)
    assert predictor.stores["text"].current.watch.record().rows_seen == seen


@pytest.mark.parametrize("kind", ["batch", "large item"])
def test_work_that_waits_is_dropped_when_its_client_leaves(models: Path, kind: str) -> None:
    predictor = Predictor(models, change_settings(inline=NOT_INLINE))
    pool = predictor.batches if kind == "batch" else predictor.large_items
    release = Event()
    reads: list[str] = []

    def read() -> list[str]:
        reads.append("read")
        return ["interest rates"]

    async def leave() -> Message:
        return {"type": "http.disconnect"}

    async def run() -> None:
        running = [asyncio.ensure_future(pool.run(lambda given_up: release.wait(10), receive)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ClientDisconnect):
            if kind == "batch":
                await predictor.answer_batch("text", read, leave)
            else:
                await predictor.answer("text", "interest rates", leave)
        await asyncio.sleep(0.01)  # the event loop drops the work in its next turn
        release.set()
        assert await asyncio.gather(*running) == [True, True]
        await pool.run(lambda given_up: None, receive)

    asyncio.run(run())
    assert reads == []
    assert predictor.stores["text"].current.watch.record().rows_seen == 0


@pytest.mark.parametrize("size", ["auto", 1, 16])
def test_micro_batches_give_each_item_the_prediction_that_it_has_alone(
    models: Path, demo_raw: Path, size: int | str
) -> None:
    queue = load_settings().queue.model_copy(update={"micro_batch_size": size})
    predictor = Predictor(models, change_settings(queue=queue))
    texts = read_test_texts(demo_raw)
    items = [*texts[:30], "\u0301", *texts[30:40]]

    async def answer_all() -> list[object]:
        answers = (predictor.answer("text", item, receive) for item in items)
        return await asyncio.gather(*answers, return_exceptions=True)

    for item, found in zip(items, asyncio.run(answer_all()), strict=True):
        if item == "\u0301":
            assert isinstance(found, RequestError)
            assert found.code == "empty_text"
        else:
            alone = predictor.classify("text", item)
            assert found["label"] == alone["label"]
            assert found["probability"] == pytest.approx(alone["probability"], abs=1e-5)
    assert predictor.queues["text"].batch_size == (size if size != "auto" else 64 if has_gpu() else 1)


@pytest.mark.parametrize("inline", [load_settings().inline, NOT_INLINE], ids=["small", "large"])
@pytest.mark.parametrize(("task", "item"), [("text", "The striker wins the cup final"), ("image", encode(picture()))])
def test_an_item_has_the_same_answer_on_the_event_loop_and_in_a_thread(
    models: Path, task: str, item: str | bytes, inline: InlineSettings
) -> None:
    predictor = Predictor(models, change_settings(inline=inline))
    found = asyncio.run(predictor.answer(task, item, receive))
    expected = predictor.classify(task, item)
    assert found == expected
    assert (predictor.stores[task].current.read_inline(item) is None) == (inline is NOT_INLINE)


@pytest.mark.parametrize("inline", [load_settings().inline, NOT_INLINE], ids=["small", "large"])
@pytest.mark.parametrize(("task", "item"), [("text", "\ud800"), ("image", b"no image"), ("image", b"")])
def test_an_item_that_cannot_be_read_is_an_error_on_the_event_loop_and_in_a_thread(
    models: Path, task: str, item: str | bytes, inline: InlineSettings
) -> None:
    predictor = Predictor(models, change_settings(inline=inline))
    with pytest.raises(RequestError) as caught:
        asyncio.run(predictor.answer(task, item, receive))
    assert caught.value.status == 400


@pytest.mark.parametrize("limits", [{"image_bytes": 1}, {"image_pixels": 1}])
def test_an_image_of_too_many_bytes_or_pixels_is_not_read_on_the_event_loop(
    models: Path, limits: dict[str, int]
) -> None:
    settings = load_settings()
    inline = settings.inline.model_copy(update=limits)
    model = load_model("image", models / "image", change_settings(inline=inline))
    assert model.read_inline(encode(picture())) is None
    assert load_model("image", models / "image", settings).read_inline(encode(picture())) is not None


def test_the_examples_of_each_run_are_counted(predictor: Predictor) -> None:
    def runs() -> tuple[float, ...]:
        names = ("relu_batch_size_count", "relu_batch_size_sum")
        return tuple(REGISTRY.get_sample_value(name, {"task": "text"}) or 0.0 for name in names)

    count, examples = runs()
    predictor.classify_batch("text", ["interest rates"] * 70)
    assert runs() == (count + 2, examples + 70)


def test_zero_fractions_are_counted_when_metrics_are_recorded(models: Path) -> None:
    predictor = Predictor(models, load_settings())

    def examples() -> float:
        labels = {"task": "text", "layer": predictor.stores["text"].current.watch.layers[0]}
        return REGISTRY.get_sample_value("relu_zero_fraction_examples_total", labels) or 0.0

    before = examples()
    predictor.classify_batch("text", ["interest rates"] * 3)
    predictor.record_metrics()
    assert examples() == before + 3
    predictor.record_metrics()
    assert examples() == before + 3


def test_the_recorded_queue_depth_is_of_requests_that_wait(models: Path) -> None:
    predictor = Predictor(models, load_settings())

    def depth() -> float | None:
        predictor.record_metrics()
        return REGISTRY.get_sample_value("relu_queue_depth", {"task": "text"})

    async def depths() -> list[float | None]:
        answers = [asyncio.ensure_future(predictor.answer("text", "interest rates", receive)) for _ in range(3)]
        await asyncio.sleep(0)
        found = [depth()]
        await asyncio.gather(*answers)
        return [*found, depth()]

    assert asyncio.run(depths()) == [3, 0]


def test_a_text_without_words_is_an_error(predictor: Predictor) -> None:
    with pytest.raises(RequestError, match="no words"):
        predictor.classify("text", "\u0301")


def test_missing_and_altered_model_files_are_errors(models: Path, tmp_path: Path) -> None:
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
        load_model("image", copy / "image", load_settings())


def test_a_folder_without_models_is_an_error_that_says_what_to_run(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "text", tmp_path / "text/deeper")  # the wrong folder is named easily
    for folder in (tmp_path, tmp_path / "text", tmp_path / "none"):
        with pytest.raises(
            ModelError, match=r"no image/manifest\.json or text/manifest\.json; run `dvc repro`, or set "
        ):
            Predictor(folder, load_settings())


@pytest.mark.parametrize("task", MODELS)
def test_one_model_is_served_alone(models: Path, tmp_path: Path, task: str) -> None:
    shutil.copytree(models / task, tmp_path / task)
    other = {"image": "text", "text": "image"}[task]
    (tmp_path / other).mkdir()
    predictor = Predictor(tmp_path, load_settings())
    assert list(predictor.stores) == list(predictor.queues) == [task]
    predictor.follow()
    item = {"image": encode(picture()), "text": "interest rates"}[task]
    assert predictor.classify(task, item) == asyncio.run(predictor.answer(task, item, receive))


def test_the_tokenizer_is_the_one_of_training(models: Path, prepared: Path) -> None:
    served, trained = (
        Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (models / "text", prepared / "text")
    )
    assert served.to_str() == trained.to_str()
    manifest = json.loads((models / "text/manifest.json").read_text())
    assert TextModel(models / "text", load_settings()).labels == manifest["labels"]


def test_the_drift_monitor_gets_the_zero_fractions_and_confidence_of_all_answered_examples(
    models: Path, trained: Path, prepared: Path, demo_raw: Path
) -> None:
    texts = read_test_texts(demo_raw)
    predictor = Predictor(models, change_settings(drift=DriftSettings(window=200, threshold=0.2)))
    watch = predictor.stores["text"].current.watch
    predictor.classify_batch("text", [*texts[:60], "", *texts[60:190]])
    assert watch.record().value is None
    predictor.classify_batch("text", texts[190:200])
    found = watch.record()
    expected = answer(load_network(trained / "text/best.ckpt"), TASKS["text"].load(prepared / "text", "test"))
    manifest = predictor.stores["text"].current.manifest
    baseline = {**manifest["relu_baseline"], "confidence": manifest["confidence_baseline"]}
    values = np.column_stack((expected.zero_shares, expected.probabilities.max(axis=1)))
    alone = DriftMonitor(baseline, 200, 0.2).add(values[:200])
    assert found.rows_seen == 200
    assert list(found.by_signal) == [*expected.layers, "confidence"]
    assert found.by_signal == pytest.approx(alone.by_signal)
    assert predictor.stores["image"].current.watch.record().rows_seen == 0


def test_a_graph_without_zero_fractions_is_an_error(models: Path, tmp_path: Path) -> None:
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


def test_a_manifest_of_an_earlier_version_is_an_error_that_says_what_it_lacks(models: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(models / "text", tmp_path / "text"))
    manifest = json.loads((copy / "manifest.json").read_text())
    for part in (manifest, manifest["int8"]):
        del part["confidence_baseline"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"confidence_baseline.*dvc repro"):
        load_model("text", copy, load_settings())


@pytest.mark.skipif(has_gpu(), reason="a GPU is here")
def test_a_gpu_that_is_wanted_and_not_there_is_an_error(models: Path) -> None:
    with pytest.raises(ModelError, match="device: cuda"):
        TextModel(models / "text", change_settings(device="cuda"))


@pytest.mark.parametrize("task", ["image", "text"])
def test_both_precisions_give_the_same_predictions_and_have_their_own_baselines(models: Path, task: str) -> None:
    fp32, int8 = (MODELS[task](models / task, change_settings(precision=p)) for p in ("fp32", "int8"))
    assert (fp32.precision, int8.precision) == ("fp32", "int8")
    assert fp32.version.sha256 != int8.version.sha256 == int8.manifest["files"]["model.int8.onnx"]
    samples = json.loads(fp32.files["samples.json"])["samples"]
    answers = [model.run([model.read(model.decode_sample(s["input"])) for s in samples]) for model in (fp32, int8)]
    exact, rounded = (np.array([answer["probability"] for answer in of]) for of in answers)
    assert np.abs(exact - rounded).mean() < 0.1  # one sample of a network that hardly trained may differ by more
    assert int8.watch.layers == fp32.watch.layers


def test_a_model_with_other_predictions_for_its_samples_is_an_error(models: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(models / "text", tmp_path / "text"))
    samples = json.loads((copy / "samples.json").read_text())
    samples["samples"][0]["probabilities"].reverse()
    (copy / "samples.json").write_text(json.dumps(samples))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["samples.json"] = artifacts.sha256_of(copy / "samples.json")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"model\.onnx: the predictions for samples\.json differ .*dvc repro"):
        TextModel(copy, load_settings())


def test_int8_that_is_wanted_but_was_refused_at_export_is_an_error(models: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(models / "text", tmp_path / "text"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["int8"]["refused"] = "it loses 0.1"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert TextModel(copy, load_settings()).precision == "fp32"
    with pytest.raises(ModelError, match=r"int8 is configured but not available: it loses 0\.1"):
        TextModel(copy, change_settings(precision="int8"))


def test_an_image_of_too_many_pixels_is_told_by_its_status(models: Path) -> None:
    limits = load_settings().limits.model_copy(update={"image_pixels": 2000})  # the model's samples have 1024
    model = load_model("image", models / "image", change_settings(limits=limits))
    model.read(encode(Image.new("RGB", (44, 44))))
    with pytest.raises(RequestError) as caught:
        model.read(encode(Image.new("RGB", (50, 50))))
    assert (caught.value.status, caught.value.code) == (413, "image_too_large")
