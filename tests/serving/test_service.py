"""A real `bentoml serve` process, over plain HTTP and through BentoML's own client."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import bentoml
import pytest
import requests
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from tokenizers import Tokenizer

from relu_pipeline.data import ag_news
from relu_pipeline.demo import sample_digit, serving
from tests.serving.test_inputs import encode

ROOT = Path(__file__).resolve().parents[2]
PNG = encode(Image.new("RGB", (32, 32), "white"))
pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def project(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the service consists of, in a folder of its own: no torch code, no data."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "serving", folder / "serving")
    (folder / "configs").mkdir()
    for name in ("bentofile.yaml", "configs/serving.yaml"):
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(models, folder / "models")
    return folder


@pytest.fixture(scope="module")
def url(project: Path) -> Iterator[str]:
    with serving(project, os.environ | {"BENTOML_DO_NOT_TRACK": "true"}) as address:
        yield address


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    path = tmp_path / "digit.png"
    path.write_bytes(sample_digit())
    return path


def figures(url: str) -> dict[tuple[str, ...], float]:
    """Of `/metrics`, by name and the values of the labels."""
    families = text_string_to_metric_families(requests.get(f"{url}/metrics", timeout=10).text)
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "le")): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_metrics_count_what_was_asked(url: str) -> None:
    before = figures(url)
    for text in ("The striker wins", "Oil prices fall", ""):
        requests.post(f"{url}/classify_text", json={"text": text}, timeout=10)
    requests.post(f"{url}/classify_texts", json={"texts": ["a goal"] * 5}, timeout=10).raise_for_status()
    expected = {
        ("relu_requests_total", "/classify_text", "200"): 2,
        ("relu_requests_total", "/classify_text", "400"): 1,
        ("relu_requests_total", "/classify_texts", "200"): 1,
        ("relu_refusals_total", "empty_text"): 1,
        ("relu_request_seconds_count", "/classify_text"): 3,
        ("relu_batch_rows_count", "text"): 3,
        ("relu_batch_rows_sum", "text"): 7,
    }
    until = time.monotonic() + 10
    while True:  # each worker writes what it counted once a second
        after = figures(url)
        found = {key: after.get(key, 0) - before.get(key, 0) for key in expected}
        if found == expected or time.monotonic() > until:
            break
        time.sleep(0.2)
    assert found == expected
    assert after["relu_in_flight",] == after["relu_waiting",] == 0


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
    assert second == {"error": {"code": "invalid_image", "message": "not a readable PNG, JPEG or WebP image"}}


def test_another_method_is_a_405_of_the_same_shape(url: str) -> None:
    response = requests.get(f"{url}/classify_text", timeout=10)
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")


def test_info_health_and_metrics(url: str) -> None:
    info = requests.get(f"{url}/info", timeout=10).json()
    assert info["models"]["image"]["data_source"] == "demo"
    assert info["execution_providers"] == {"image": ["CPUExecutionProvider"], "text": ["CPUExecutionProvider"]}
    for path in ("/livez", "/readyz"):
        assert requests.get(f"{url}{path}", timeout=10).status_code == 200
    assert "relu_request_seconds" in requests.get(f"{url}/metrics", timeout=10).text


def drift_of(url: str) -> tuple[dict[str, Any], dict[str, float]]:
    """The text model's entry of `/info`, and what `/metrics` shows of it."""
    lines = requests.get(f"{url}/metrics", timeout=10).text.splitlines()
    shown = dict(line.rsplit(" ", 1) for line in lines if line.startswith("relu_") and 'task="text"' in line)
    info = requests.get(f"{url}/info", timeout=10).json()["drift"]["text"]
    return info, {name.replace('{task="text"}', ""): float(value) for name, value in shown.items()}


def test_requests_that_drift_raise_the_alarm_until_it_ends(project: Path, demo_raw: Path, tmp_path: Path) -> None:
    texts, _ = ag_news.read(demo_raw / "ag_news" / ag_news.TEST_FILE, 4)
    tokenizer = Tokenizer.from_file(str(project / "models/text/tokenizer.json"))
    drifted = [tokenizer.id_to_token(word) for word in range(2, tokenizer.get_vocab_size())]
    copy = tmp_path / "project"
    shutil.copytree(project, copy)
    limits = (copy / "configs/serving.yaml").read_text()
    (copy / "configs/serving.yaml").write_text(
        limits.replace("window: 500", "window: 200").replace("workers: cpu_count", "workers: 1")
    )
    with serving(copy, os.environ | {"BENTOML_DO_NOT_TRACK": "true"}) as url:

        def send(batch: list[str]) -> tuple[dict[str, Any], dict[str, float]]:
            requests.post(f"{url}/classify_texts", json={"texts": batch}, timeout=10).raise_for_status()
            return drift_of(url)

        info, shown = send(texts[:199])
        assert (info["value"], info["raised_since"], info["rows_seen"], info["window"]) == (None, None, 199, 200)
        assert "relu_drift" not in shown
        info, shown = send(texts[199:400])
        assert info["raised_since"] is None
        assert 0 < info["value"] == shown["relu_drift"] < info["threshold"]
        assert shown["relu_drift_raised"] == 0
        layer = next(iter(info["by_layer"]))
        assert shown[f'relu_zero_share_count{{layer="{layer}",task="text"}}'] == 400
        info, shown = send((drifted * 200)[:200])
        assert datetime.fromisoformat(info["raised_since"]).tzinfo
        assert info["threshold"] < info["value"] == max(info["by_layer"].values()) == shown["relu_drift"]
        assert shown["relu_drift_raised"] == 1
        info, shown = send(texts[:200])
        assert (info["raised_since"], shown["relu_drift_raised"]) == (None, 0)


def test_the_service_loads_no_training_library(project: Path) -> None:
    code = (
        "import sys, serving.service; print(sorted({'torch', 'lightning', 'mlflow', 'dvc', 'onnx'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
