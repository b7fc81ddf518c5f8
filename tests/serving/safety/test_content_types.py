"""A body is read as its content type says, and only a few types are accepted; nothing is ever unpickled."""

import gzip
import json
import pickle
import zlib
from pathlib import Path

import pytest
import requests

from tests.servers import Server
from tests.serving.safety import wire
from tests.serving.safety.answers import JSON, TIMEOUT_S, Caller, check_promise, refusal
from tests.serving.safety.pictures import encode, picture, plain

pytestmark = pytest.mark.slow

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
    """An object whose pickle writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (self.path, "loaded"))


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "canary"
    pickle.loads(pickle.dumps(Canary(path)))
    assert path.exists(), "the tests below could not fail"
    path.unlink()
    return path


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", FOREIGN)
def test_no_other_content_type_is_accepted(caller: Caller, path: str, content_type: str) -> None:
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
def test_these_content_types_are_accepted(caller: Caller, path: str, body: bytes, content_type: str) -> None:
    assert caller.post(path, body, content_type).status_code == 200


def post_encoded(caller: Caller, path: str, body: bytes, content_type: str, encoding: str) -> requests.Response:
    headers = {"Content-Type": content_type, "Content-Encoding": encoding}
    response = requests.post(f"{caller.url}{path}", data=body, headers=headers, timeout=TIMEOUT_S)
    check_promise(caller.document["paths"][path]["post"], response)
    return response


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "deflate", "br", "zstd", "gzip, identity", "nonsense"])
@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [("/classify_text", b'{"text": "goal"}', JSON), ("/classify_image", PNG, "image/png")],
)
def test_a_compressed_body_is_refused_with_415(
    caller: Caller, path: str, body: bytes, content_type: str, encoding: str
) -> None:
    """Even if its bytes are not compressed after all."""
    compress = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding, bytes)
    response = post_encoded(caller, path, compress(body), content_type, encoding)
    assert refusal(response) == (415, "unsupported_media_type")
    assert response.headers["Accept-Encoding"] == "identity"  # RFC 9110, 12.5.3


def test_a_body_without_compression_may_say_so(caller: Caller) -> None:
    assert post_encoded(caller, "/classify_text", b'{"text": "goal"}', JSON, "identity").status_code == 200


FORM = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + PNG + b"\r\n--x--\r\n"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(FORM, id="plain"),
        pytest.param(b"\r\n" + FORM, id="empty-line-in-front"),
        pytest.param(b"This is a message in MIME format.\r\n" + FORM, id="preamble"),
        pytest.param(FORM + b"That was a message in MIME format.\r\n", id="epilogue"),
        pytest.param(FORM.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: binary\r\n\r\n", 1), id="encoding"),
        pytest.param(FORM.replace(b"name=", b"NAME="), id="parameter-in-capitals"),
    ],
)
def test_a_form_may_have_all_that_the_standard_allows(caller: Caller, body: bytes) -> None:
    """RFC 2046, 5.1.1."""
    assert caller.post("/classify_image", body, "multipart/form-data; boundary=x").status_code == 200


def test_a_preamble_may_arrive_in_pieces(server: Server) -> None:
    preamble = b"A preamble, with --x in it, and a line\r\n--y"
    body = preamble + b"\r\n" + FORM
    content_type = "multipart/form-data; boundary=x"
    head = wire.head("/classify_image", Content_Type=content_type, Content_Length=str(len(body)))
    pieces = [body[place : place + 1] for place in range(100)]
    assert wire.send(server, [head, *pieces, body[100:]], pause_s=0.001) == 200


@pytest.mark.parametrize("path", ["/classify_image", "/classify_images"])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(FORM, "multipart/form-data", id="no-boundary"),
        pytest.param(FORM, "multipart/form-data; boundary=y", id="another-boundary"),
        pytest.param(b"no form", "multipart/form-data; boundary=x", id="no-form"),
        pytest.param(
            FORM.replace(b"Content-Disposition", b"Content Disposition"),
            "multipart/form-data; boundary=x",
            id="bad-header",
        ),
        pytest.param(
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 20 + FORM,
            "multipart/form-data; boundary=x",
            id="too-many-fields",
        ),
    ],
)
def test_a_form_that_cannot_be_read_is_refused(caller: Caller, path: str, body: bytes, content_type: str) -> None:
    assert refusal(caller.post(path, body, content_type)) == (400, "invalid_multipart")


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
