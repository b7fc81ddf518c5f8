"""Over HTTP, against the application of the service with the demo models, and against servers that are no service."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests
import uvicorn

from relu_pipeline.ask import ask
from relu_pipeline.demo import sample_digit
from relu_pipeline.errors import ArtifactError, ServiceError
from serving.predictor import Predictor
from serving.settings import load_settings
from tests.servers import free_port
from tests.serving.asgi import service_of

KEY = "a key"
TEXTS = ["The striker wins the cup final", "Oil prices fall"]


@pytest.fixture(scope="module")
def url(models: Path) -> Iterator[str]:
    predictor, port = Predictor(models, load_settings()), free_port()
    server = uvicorn.Server(uvicorn.Config(service_of(predictor, KEY), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELU_API_KEY", KEY)


def test_each_text_is_followed_by_its_most_probable_classes(url: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = requests.post(f"{url}/classify_texts", json={"texts": TEXTS}, headers=headers, timeout=10).json()
    expected = []
    for text, entry in zip(TEXTS, answer["predictions"], strict=True):
        expected.append(f"{text}: {entry['label']}")
        expected += [f"  {score['probability']:7.2%}  {score['label']}" for score in entry["top"]]
    expected.append(f"model: relu-pipeline-text {answer['model']['version']}")
    assert ask(f"{url}/", "text", TEXTS).splitlines() == expected


def test_an_image_that_cannot_be_read_has_its_error_in_its_place(url: str, tmp_path: Path) -> None:
    digit, broken = tmp_path / "digit.png", tmp_path / "broken.png"
    digit.write_bytes(sample_digit())
    broken.write_bytes(b"no image")
    first, *classes, last, model = ask(url, "image", [str(digit), str(broken)]).splitlines()
    assert first.startswith(f"{digit}: ")
    assert len(classes) == 5
    assert last.startswith(f"{broken}: The file is not a readable PNG")
    assert model.startswith("model: relu-pipeline-image ")
    with pytest.raises(ServiceError, match=f"^{broken}: The file is not a readable PNG"):
        ask(url, "image", [str(broken)])


def test_a_missing_file_is_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"missing\.png: No such file or directory; give PNG, JPEG or WebP files"):
        ask(url, "image", [str(tmp_path / "missing.png")])


def test_without_the_key_the_words_of_the_service_are_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELU_API_KEY")
    with pytest.raises(ServiceError, match=rf"^{url}/classify_texts: .*key"):
        ask(url, "text", TEXTS)


@contextmanager
def other_server(content: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", r"is not this project's service \(.*\); change --url"),
        (b'{"status": "ok"}', r"is not this project's service \(status 200\); change --url"),
        (b'{"predictions": []}', r"is not this project's service \(status 200\); change --url"),
        (b"[]", r"is not this project's service \(status 200\); change --url"),
    ],
)
def test_another_server_is_recognised(content: bytes, message: str) -> None:
    with other_server(content) as url, pytest.raises(ServiceError, match=message):
        ask(url, "text", TEXTS)


@pytest.mark.parametrize("url", ["127.0.0.1:3000", "localhost:3000", "ftp://localhost"])
def test_an_address_without_http_is_no_url(url: str) -> None:
    with pytest.raises(ServiceError, match="no URL; --url begins with http:// or https://"):
        ask(url, "text", TEXTS)


def test_without_a_server_the_next_command_is_named() -> None:
    with pytest.raises(ServiceError, match="no connection; start the service with `make serve`, or change --url"):
        ask(f"http://127.0.0.1:{free_port()}", "text", TEXTS)
