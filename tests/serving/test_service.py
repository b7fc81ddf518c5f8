"""A real `bentoml serve` with the default settings, asked over plain HTTP and with BentoML's client."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import bentoml
import pytest
import requests
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from tokenizers import Tokenizer

from relu_pipeline.data import ag_news
from relu_pipeline.demo import sample_digit
from tests.servers import Server, copy_project, service_environment, start
from tests.serving.safety.answers import code_of
from tests.serving.safety.pictures import picture, plain

PNG = plain(picture())
BATCH = {"texts": ["The striker wins the cup final"] * 256}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service alone, without the training code."""
    return copy_project(tmp_path_factory.mktemp("service") / "project", precision="fp32")


@pytest.fixture(scope="module")
def server(models: Path, project: Path) -> Iterator[Server]:
    """An earlier version took the precision from such variables, and some may still have them in their environment."""
    inherited = {f"RELU_CHOSEN_PRECISION_{task}": "int8" for task in ("IMAGE", "TEXT", "image", "text")}
    with start(models, inherited, project) as running:
        yield running


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return server.url


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    path = tmp_path / "digit.png"
    path.write_bytes(sample_digit())
    return path


def by_labels(families: Iterable[Metric]) -> dict[tuple[str, ...], float]:
    """Return the values of metrics by their names and the values of their labels."""
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "le")): sample.value
        for family in families
        for sample in family.samples
    }


def metrics(url: str) -> dict[tuple[str, ...], float]:
    return by_labels(text_string_to_metric_families(requests.get(f"{url}/metrics", timeout=10).text))


def test_the_metrics_count_each_request_at_once(url: str) -> None:
    before = metrics(url)
    for text in ("The striker wins", "Oil prices fall", ""):
        requests.post(f"{url}/classify_text", json={"text": text}, timeout=10)
    requests.post(f"{url}/classify_texts", json={"texts": ["a goal"] * 5}, timeout=10).raise_for_status()
    expected = {
        ("relu_requests_total", "/classify_text", "200"): 2,
        ("relu_requests_total", "/classify_text", "400"): 1,
        ("relu_requests_total", "/classify_texts", "200"): 1,
        ("relu_rejected_requests_total", "empty_text"): 1,
        ("relu_request_duration_seconds_count", "/classify_text"): 3,
        ("relu_batch_size_count", "text"): 3,
        ("relu_batch_size_sum", "text"): 7,
    }
    time.sleep(0.1)  # a worker counts a request after it has sent the response
    after = metrics(url)
    assert {key: after.get(key, 0) - before.get(key, 0) for key in expected} == expected
    assert after["relu_requests_in_flight",] == after["relu_queue_depth", "text"] == 0


def test_what_is_answered_after_sigterm_is_counted_too(models: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with start(models, {"BENTOML_HOME": str(home)}, copy_project(tmp_path / "project", workers=2)) as server:
        answers: list[requests.Response] = []

        def send() -> None:
            while True:
                try:
                    answers.append(requests.post(f"{server.url}/classify_texts", json=BATCH, timeout=10))
                except requests.ConnectionError:
                    return  # the service is gone

        senders = [threading.Thread(target=send) for _ in range(4)]
        for sender in senders:
            sender.start()
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        server.process.wait(20)
        assert time.monotonic() - told > 1  # of notice, in which requests are answered
        for sender in senders:
            sender.join()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(home / "prometheus_multiproc_dir"))
    found = by_labels(registry.collect())
    refused = [answer for answer in answers if answer.status_code != 200]
    assert all((answer.status_code, code_of(answer)) == (503, "draining") for answer in refused)
    assert all(answer.headers["Retry-After"] == "1" for answer in refused)
    answered = len(answers) - len(refused)
    assert answered > 4
    assert found["relu_requests_total", "/classify_texts", "200"] == answered
    assert found["relu_batch_size_sum", "text"] == 256 * answered
    by_layer = [value for key, value in found.items() if key[0] == "relu_zero_fraction_examples_total"]
    assert set(by_layer) == {256 * answered}


def test_all_endpoints_answer_bentomls_client(url: str, digit: Path) -> None:
    with bentoml.SyncHTTPClient(url) as client:
        image = client.classify_image(image=digit)
        images = client.classify_images(images=[digit, digit])
        text = client.classify_text(text="The striker wins the cup final")
        texts = client.classify_texts(texts=["The striker wins", ""])
    assert image["label"] == images["predictions"][1]["label"] == image["top"][0]["label"]
    assert image["model"]["name"] == "relu-pipeline-image"
    assert set(text) == {"label", "probability", "top", "model"}
    assert texts["predictions"][1]["error"]["code"] == "empty_text"


def test_an_image_comes_as_a_form_or_as_raw_bytes(url: str) -> None:
    form = requests.post(f"{url}/classify_image", files={"image": ("a.png", PNG, "image/png")}, timeout=10)
    raw = requests.post(f"{url}/classify_image", data=PNG, headers={"Content-Type": "image/png"}, timeout=10)
    assert form.status_code == raw.status_code == 200
    assert form.json() == raw.json()


def test_a_batch_reports_each_item(url: str) -> None:
    files = [("images", ("a.png", PNG)), ("images", ("b.png", b"no image")), ("images", ("c.png", PNG))]
    first, second, third = requests.post(f"{url}/classify_images", files=files, timeout=10).json()["predictions"]
    assert first == third
    message = "The file is not a readable PNG, JPEG or WebP image."
    assert second == {"error": {"code": "invalid_image", "message": message}}


def test_bentomls_schema_has_no_default_text_for_its_client_to_send(url: str) -> None:
    schema = requests.get(f"{url}/schema.json", timeout=10).json()
    assert {route["name"] for route in schema["routes"]} >= {"classify_text", "classify_texts"}
    assert '"default"' not in json.dumps([route["input"] for route in schema["routes"]])
    with bentoml.SyncHTTPClient(url) as client, pytest.raises((TypeError, ValueError), match="text"):
        client.classify_text()


def test_a_request_id_is_taken_from_the_request_or_made(url: str) -> None:
    def sent(request_id: str) -> str:
        headers = {"X-Request-ID": request_id}
        return requests.get(f"{url}/readyz", headers=headers, timeout=10).headers["X-Request-ID"]

    assert sent("check-7f/3") == "check-7f/3"
    made = {sent(""), sent("two words"), sent("a" * 129), requests.get(url, timeout=10).headers["X-Request-ID"]}
    assert len(made) == 4
    assert all(len(request_id) == 32 for request_id in made)
    error = requests.post(f"{url}/classify_text", headers={"X-Request-ID": "mine"}, timeout=10).json()["error"]
    assert error["request_id"] == "mine"


def test_what_must_be_configured_is_off(server: Server) -> None:
    origin = {"Origin": "https://app.example.com"}
    response = requests.post(f"{server.url}/classify_text", json={"text": "goal"}, headers=origin, timeout=10)
    assert response.ok
    assert not [name for name in response.headers if name.lower().startswith("access-control-")]
    asked = origin | {"Access-Control-Request-Method": "POST"}
    assert requests.options(f"{server.url}/classify_text", headers=asked, timeout=10).status_code == 405
    assert "request_id" not in server.log.read_text()  # as in a line of the access log


def test_the_environment_does_not_choose_the_precision(url: str) -> None:
    assert requests.get(f"{url}/info", timeout=10).json()["precision"] == {"image": "fp32", "text": "fp32"}


def test_info_health_and_metrics(url: str) -> None:
    info = requests.get(f"{url}/info", timeout=10).json()
    assert info["models"]["image"]["data_source"] == "demo"
    assert info["execution_providers"] == {"image": ["CPUExecutionProvider"], "text": ["CPUExecutionProvider"]}
    for path in ("/livez", "/readyz"):
        assert requests.get(f"{url}{path}", timeout=10).status_code == 200
    assert "relu_request_duration_seconds" in requests.get(f"{url}/metrics", timeout=10).text


def drift_of(url: str) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the drift of the text model in `/info`, and its series in `/metrics`."""
    lines = requests.get(f"{url}/metrics", timeout=10).text.splitlines()
    shown = dict(line.rsplit(" ", 1) for line in lines if line.startswith("relu_") and 'task="text"' in line)
    info = requests.get(f"{url}/info", timeout=10).json()["drift"]["text"]
    return info, {name.replace('{task="text"}', ""): float(value) for name, value in shown.items()}


def test_drift_raises_an_alarm_that_ends_with_it(models: Path, demo_raw: Path, tmp_path: Path) -> None:
    texts, _ = ag_news.read(demo_raw / "ag_news" / ag_news.TEST_FILE, 4)
    tokenizer = Tokenizer.from_file(str(models / "text/tokenizer.json"))
    drifted = [tokenizer.id_to_token(word) for word in range(2, tokenizer.get_vocab_size())]
    project = copy_project(tmp_path / "project", workers=1, **{"drift.window": 200})
    with start(models, project=project) as server:

        def send(batch: list[str]) -> tuple[dict[str, Any], dict[str, float]]:
            requests.post(f"{server.url}/classify_texts", json={"texts": batch}, timeout=10).raise_for_status()
            return drift_of(server.url)

        info, shown = send(texts[:199])
        assert (info["value"], info["raised_since"], info["rows_seen"], info["window"]) == (None, None, 199, 200)
        assert "relu_drift" not in shown
        info, shown = send(texts[199:400])
        assert info["raised_since"] is None
        assert 0 < info["value"] == shown["relu_drift"] < info["threshold"]
        assert shown["relu_drift_raised"] == 0
        layer = next(iter(info["by_signal"]))
        assert shown[f'relu_zero_fraction_examples_total{{layer="{layer}",task="text"}}'] == 400
        info, shown = send((drifted * 200)[:200])
        assert datetime.fromisoformat(info["raised_since"]).tzinfo
        assert info["threshold"] < info["value"] == max(info["by_signal"].values()) == shown["relu_drift"]
        assert shown["relu_drift_raised"] == 1
        info, shown = send(texts[:200])
        assert (info["raised_since"], shown["relu_drift_raised"]) == (None, 0)


def test_the_service_imports_no_training_library(models: Path, project: Path) -> None:
    libraries = {"torch", "lightning", "mlflow", "dvc", "onnx"}
    code = f"import sys, serving.service; print(sorted({libraries} & set(sys.modules)))"
    words, environment = [sys.executable, "-c", code], service_environment(models)
    result = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
