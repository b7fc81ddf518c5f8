"""The application of real models behind the middleware: its endpoints, and that it serves the tasks that it has."""

import asyncio
import json
import shutil
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from urllib3.filepost import encode_multipart_formdata

from benchmarks.reliability import variants
from serving.app import intakes
from serving.middleware import CLIENT_LEFT
from serving.predictor import Predictor
from serving.schemas import Prediction, Predictions
from serving.settings import QueueSettings, load_settings
from tests.serving.asgi import Exchange, Request, Response, service_of
from tests.serving.safety.pictures import encode, picture

TASKS = ("image", "text")
BOUNDARY = "boundary"
FORM = [("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")]
JSON = [("Content-Type", "application/json")]
PNG = [("Content-Type", "image/png")]
FILE = ("a.png", encode(picture()))


def ask(predictor: Predictor, *requests: Request) -> list[Response]:
    """Return the responses to requests that come one after the other."""

    async def run() -> list[Response]:
        service = service_of(predictor)
        return [await Exchange(request).run(service) for request in requests]

    return asyncio.run(run())


def post(path: str, body: bytes, headers: list[tuple[str, str]], **more: Any) -> Request:
    return Request("POST", path, headers, [body[:70], body[70:]], **more)


def form(*parts: tuple[str, Any]) -> bytes:
    return encode_multipart_formdata(parts, BOUNDARY)[0]


def text(content: str) -> Request:
    return post("/classify_text", json.dumps({"text": content}).encode(), JSON)


def texts(*contents: str) -> Request:
    return post("/classify_texts", json.dumps({"texts": contents}).encode(), JSON)


def images(*files: tuple[str, bytes]) -> Request:
    return post("/classify_images", form(*(("images", file) for file in files)), FORM)


def alone(models: Path, folder: Path, task: str) -> Predictor:
    shutil.copytree(models / task, folder / task)
    return Predictor(folder, load_settings())


def test_an_image_has_the_same_prediction_raw_and_in_a_form(predictor: Predictor) -> None:
    form_request = post("/classify_image", form(("image", FILE)), FORM)
    raw, in_form = ask(predictor, post("/classify_image", FILE[1], PNG), form_request)
    assert (raw.status, raw.header("content-type")) == (200, "application/json")
    assert raw.body == in_form.body
    assert Prediction.model_validate_json(raw.body).model_dump() == predictor.classify("image", FILE[1])


def test_a_text_has_its_prediction(predictor: Predictor) -> None:
    (response,) = ask(predictor, text("The striker wins the cup final"))
    expected = predictor.classify("text", "The striker wins the cup final")
    assert Prediction.model_validate_json(response.body).model_dump() == expected


def test_the_items_of_a_batch_have_predictions_or_errors_in_order(predictor: Predictor) -> None:
    batches = ask(predictor, texts("goal", "\ud800", "", "oil"), images(FILE, ("b.png", b"no image"), FILE))
    codes = [
        [item.error and item.error.code for item in Predictions.model_validate_json(batch.body).predictions]
        for batch in batches
    ]
    assert [batch.status for batch in batches] == [200, 200]
    assert codes == [[None, "invalid_text", "empty_text", None], [None, "invalid_image", None]]


WRONG = {
    "invalid_json": post("/classify_text", b"{", JSON),
    "invalid_request": post("/classify_text", b"{}", JSON),
    "empty_text": text(" "),
    "invalid_image": post("/classify_image", b"no image", PNG),
    "empty_image": post("/classify_image", b"", PNG),
    "invalid_multipart": post("/classify_image", form(("image", FILE)).replace(b"Dis", b"D is"), FORM),
    "wrong_item_count": post("/classify_images", form(("text", "no file")), FORM),
    "unsupported_media_type": post("/classify_images", FILE[1], PNG),
    "body_too_large": post("/classify_text", b"a" * (load_settings().limits.text_bytes + 1), JSON),
}


@pytest.mark.parametrize("code", WRONG)
def test_a_wrong_request_is_a_4xx_with_its_code(predictor: Predictor, code: str) -> None:
    (response,) = ask(predictor, WRONG[code])
    assert 400 <= response.status < 500
    assert response.error["code"] == code


@pytest.mark.parametrize(
    "path", ["/classify_text/", "/info/", "/docs/", "/static", "/nothing", "//info", "/INFO", "/%69nfo"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_path_that_is_none_is_not_found_and_not_redirected(predictor: Predictor, method: str, path: str) -> None:
    (response,) = ask(predictor, Request(method, path, JSON))
    assert (response.status, response.error["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/classify_text", {"POST"}),
        ("HEAD", "/classify_images", {"POST"}),
        ("DELETE", "/info", {"GET", "HEAD"}),
        ("POST", "/", {"GET", "HEAD"}),
        ("OPTIONS", "/static/app.js", {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(predictor: Predictor, method: str, path: str, allowed: set[str]) -> None:
    (response,) = ask(predictor, Request(method, path, JSON))
    assert (response.status, response.error["code"]) == (405, "method_not_allowed")
    assert set((response.header("allow") or "").split(", ")) == allowed


@pytest.mark.parametrize("end", ["disconnect", "leave"])
@pytest.mark.parametrize("request_", [images(FILE), texts("goal"), post("/classify_image", FILE[1], PNG)])
def test_a_client_that_leaves_is_no_error(predictor: Predictor, request_: Request, end: str) -> None:
    (response,) = ask(predictor, Request("POST", request_.path, request_.headers, request_.body, end))
    assert response.status in ({CLIENT_LEFT} if end == "disconnect" else {CLIENT_LEFT, 200})


def test_metrics_are_prometheus_text(predictor: Predictor) -> None:
    _, response = ask(predictor, text("goal"), Request(path="/metrics"))
    assert (response.header("content-type") or "").startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(response.body.decode())}
    assert {"relu_requests", "relu_model_info", "relu_batch_size", "relu_zero_fraction"} <= names


def test_metrics_include_what_was_answered_a_moment_ago(predictor: Predictor) -> None:
    def examples(response: Response) -> float:
        return sum(
            sample.value
            for family in text_string_to_metric_families(response.body.decode())
            for sample in family.samples
            if sample.name == "relu_zero_fraction_examples_total" and sample.labels["task"] == "text"
        )

    scrape = Request(path="/metrics")
    before, _, after = ask(predictor, scrape, texts("goal", "oil"), scrape)
    layers = len(predictor.stores["text"].current.watch.layers)
    assert examples(after) == examples(before) + 2 * layers


def test_info_describes_the_models_that_are_served(predictor: Predictor) -> None:
    (response,) = ask(predictor, Request(path="/info"))
    info = json.loads(response.body)
    for task, store in predictor.stores.items():
        assert info["models"][task] == store.current.manifest
        assert info["precision"][task] == store.current.precision
        assert info["refused"][task] is None
        assert info["execution_providers"][task] == store.current.session.get_providers()
        assert info["drift"][task]["window"] == load_settings().drift.window
        assert "ReLU layers and the confidence" in info["drift"][task]["watches"]
    assert set(info["versions"]) == {"python", "bentoml", "onnxruntime"}


def test_a_network_without_relu_is_watched_by_its_confidence_and_says_so(gelu_models: Path) -> None:
    predictor = Predictor(gelu_models, load_settings())
    sending, showing = [images(*[FILE] * 250)] * 2, [Request(path="/info"), Request(path="/metrics")]
    info, metrics = ask(predictor, *sending, *showing)[-2:]
    drift = json.loads(info.body)["drift"]["image"]
    assert list(drift["by_signal"]) == ["confidence"]
    assert drift["value"] > drift["threshold"]
    assert drift["raised_since"]
    assert drift["watches"].startswith("only the confidence, because the network has no ReLU layer")
    assert b'relu_drift_raised{task="image"} 1.0' in metrics.body


def test_the_api_document_follows_the_labels_of_the_model(models: Path, tmp_path: Path) -> None:
    predictor = alone(models, tmp_path / "models", "text")
    renamed = variants.renamed(tmp_path / "models/text", tmp_path / "renamed")

    def labels() -> set[str]:
        (response,) = ask(predictor, Request(path="/docs.json"))
        schema = json.loads(response.body)["components"]["schemas"]["TextPrediction"]
        return set(schema["properties"]["label"]["enum"])

    assert labels() == set(predictor.stores["text"].current.labels) != renamed.labels
    variants.place(renamed.folder, tmp_path / "models/text")
    for _ in range(2):
        predictor.follow()
    assert labels() == renamed.labels


def test_a_model_of_a_version_without_cards_is_served_and_has_none(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "text", tmp_path / "text")
    path = tmp_path / "text/manifest.json"
    manifest = json.loads(path.read_text())
    for name in ("card.md", "card.html"):
        (tmp_path / "text" / name).unlink()
        del manifest["files"][name]
    path.write_text(json.dumps(manifest))
    answer, card = ask(Predictor(tmp_path, load_settings()), text("goal"), Request(path="/card/text.html"))
    assert (answer.status, card.status, card.error["code"]) == (200, 404, "not_found")


@pytest.mark.parametrize("task", TASKS)
def test_with_one_model_everything_is_about_its_task_alone(models: Path, tmp_path: Path, task: str) -> None:
    predictor = alone(models, tmp_path, task)
    other = {"image": "text", "text": "image"}[task]
    requests = {"image": [post("/classify_image", FILE[1], PNG), images(FILE)], "text": [text("goal"), texts("goal")]}
    maps = {name: Request(path=f"/relu_health/{name}.png") for name in TASKS}
    assert {response.status for response in ask(predictor, *requests[task], maps[task])} == {200}
    assert {response.status for response in ask(predictor, *requests[other], maps[other])} == {404}
    documents = ask(predictor, *(Request(path=path) for path in ("/docs.json", "/samples", "/info")))
    document, samples, info = (json.loads(response.body) for response in documents)
    assert [path for path in document["paths"] if path.startswith("/classify")] == [
        f"/classify_{task}",
        f"/classify_{task}s",
    ]
    assert list(samples) == list(info["models"]) == list(info["drift"]) == [task]
    assert all(response.status == 200 for response in ask(predictor, Request(path="/"), Request(path="/metrics")))
    assert {path for path in intakes(predictor) if path.startswith("/classify")} == {
        f"/classify_{task}",
        f"/classify_{task}s",
    }


def test_each_task_has_slots_of_its_own_and_all_batches_share_theirs(predictor: Predictor) -> None:
    found = intakes(predictor)
    slots = {path: intake.slots for path, intake in found.items()}
    assert slots["/classify_image"] is not slots["/classify_text"]
    assert slots["/classify_images"] is slots["/classify_texts"]
    assert slots["/classify_image"].limit == slots["/classify_text"].limit == predictor.settings.queue.max_requests
    assert slots["/classify_images"].limit == predictor.settings.queue.max_batches
    queues = {path: intake.queue for path, intake in found.items()}
    assert queues["/classify_text"] is predictor.queues["text"]
    assert queues["/classify_texts"] is None


def test_batches_that_wait_are_answered_and_those_above_the_limit_are_refused(models: Path) -> None:
    limits = QueueSettings(max_requests=9, max_batches=3, max_depth=4, min_depth=2, micro_batch_size=1)
    predictor = Predictor(models, load_settings().model_copy(update={"queue": limits}))
    release = Event()

    async def receive() -> Any:
        return await asyncio.Event().wait()

    async def run() -> tuple[list[Response], list[Response]]:
        service = service_of(predictor)
        blocking = [
            asyncio.create_task(predictor.batches.run(lambda given_up: release.wait(10), receive)) for _ in range(2)
        ]
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(Exchange(texts("goal")).run(service)) for _ in range(3)]
        await asyncio.sleep(0.1)
        more = [texts("goal"), images(FILE), text("goal"), post("/classify_image", FILE[1], PNG)]
        found = [await Exchange(request).run(service) for request in more]
        release.set()
        await asyncio.gather(*blocking)
        return await asyncio.gather(*waiting), found

    waited, found = asyncio.run(run())
    assert [response.status for response in waited] == [200] * 3
    assert [response.status for response in found] == [429, 429, 200, 200]
