"""A body is read as what its content type says, and only a few are taken; nothing is ever unpickled."""

import json
import pickle
from pathlib import Path

import pytest
import requests

from tests.serving.safety.answers import TIMEOUT_S, Caller, refusal
from tests.serving.safety.pictures import encode, picture, plain

pytestmark = pytest.mark.pipeline

PNG = plain(picture())
PATHS = ["/classify_image", "/classify_images", "/classify_text", "/classify_texts"]
PICKLES = ["application/vnd.bentoml+pickle", "application/x-pickle", "application/python-pickle"]
FOREIGN = [
    *PICKLES,
    "",
    "*/*",
    "text/plain",
    "text/html",
    "application/xml",
    "application/x-www-form-urlencoded",
    "application/vnd.bentoml+array",
    "application/vnd.apache.arrow.stream",
    "application/msgpack",
    "multipart/mixed; boundary=x",
    "multipart/form-data-x; boundary=x",
    "application/json-seq",
    "application/jsonl",
    "applicatiön/jsön".encode().decode("latin-1"),
    "image",
    "imagery/png",
]


class Canary:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (self.path, "loaded"))


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "canary"
    pickle.loads(pickle.dumps(Canary(path)))  # it does what it is for
    path.unlink()
    return path


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", FOREIGN)
def test_no_other_content_type_is_taken(caller: Caller, path: str, content_type: str) -> None:
    body = PNG if "image" in path else json.dumps({path.removeprefix("/classify_"): "goal"}).encode()
    assert refusal(caller.post(path, body, content_type)) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [
        ("/classify_image", PNG, "image/png"),
        ("/classify_image", PNG, "IMAGE/PNG; q=1"),
        ("/classify_image", encode(picture(), "JPEG"), "image/jpeg"),
        ("/classify_image", encode(picture(), "WEBP"), "image/webp"),
        ("/classify_text", b'{"text": "goal"}', "application/json"),
        ("/classify_text", '{"text": "Überfall"}'.encode(), "Application/JSON; charset=utf-8"),
        ("/classify_texts", b'{"texts": ["goal"]}', "application/json"),
    ],
)
def test_these_are_taken(caller: Caller, path: str, body: bytes, content_type: str) -> None:
    assert caller.post(path, body, content_type).status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", [*PICKLES, "application/json", "image/png", "application/octet-stream"])
def test_a_pickle_as_the_body_is_never_loaded(caller: Caller, canary: Path, path: str, content_type: str) -> None:
    response = caller.post(path, pickle.dumps(Canary(canary)), content_type)
    assert response.status_code in (400, 415)
    assert not canary.exists()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", [*PICKLES, "application/octet-stream", "image/png", "text/plain"])
def test_a_pickle_in_a_form_is_never_loaded(caller: Caller, canary: Path, path: str, content_type: str) -> None:
    field = path.removeprefix("/classify_")
    form = caller.post(path, files={field: ("a.pkl", pickle.dumps(Canary(canary)), content_type)})
    if path == "/classify_images":
        assert form.json()["predictions"][0]["error"]["code"] == "invalid_image"
    else:
        assert form.status_code in (400, 415)
    assert not canary.exists()


@pytest.mark.parametrize("headers", [{"Payload-Container": "NdarrayContainer"}, {"Args-Number": "1"}])
@pytest.mark.parametrize("path", ["/classify_text/", "//classify_text", "/", "/docs.json", "/schema.json", "/livez"])
def test_a_pickle_is_loaded_on_no_other_path_either(
    caller: Caller, canary: Path, path: str, headers: dict[str, str]
) -> None:
    for content_type in PICKLES:
        response = requests.post(
            f"{caller.url}{path}",
            data=pickle.dumps(Canary(canary)),
            headers={"Content-Type": content_type, **headers},
            timeout=TIMEOUT_S,
        )
        assert 400 <= response.status_code < 500
    assert not canary.exists()
