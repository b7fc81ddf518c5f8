"""With RELU_API_KEY set, nothing but the open paths answers without the key."""

import itertools

import pytest
import requests

from tests.servers import Server
from tests.serving.safety import wire
from tests.serving.safety.answers import JSON, TIMEOUT_S, refusal
from tests.serving.safety.conftest import KEY
from tests.serving.safety.pictures import picture, plain

pytestmark = pytest.mark.pipeline

OPEN = ["/", "/static/app.js", "/docs", "/docs.json", "/livez", "/readyz", "/healthz"]
OPEN += ["/schema.json"]  # what BentoML's client asks first
GETS = ["/info", "/samples", "/metrics", "/relu_health/image.png", "/relu_health/text.png"]
POSTS = ["/classify_image", "/classify_images", "/classify_text", "/classify_texts"]
OTHERS = ["/nothing", "/classify_text/", "//classify_text", "/static/../info", "/%2e/info"]
RIGHT = f"Bearer {KEY}".encode()
WRONG = {
    "none": None,
    "empty": b"",
    "no-key": b"Bearer ",
    "no-scheme": KEY.encode(),
    "basic": f"Basic {KEY}".encode(),
    "prefix": RIGHT[:-1],
    "first-byte": b"Bearer " + KEY.encode()[:1],
    "longer": RIGHT + b"0",
    "twice": RIGHT + b", " + RIGHT,
    "other-case": RIGHT.swapcase(),
    "other-ascii": b"Bearer secret",
    "latin-1": "Bearer schlüssel".encode("latin-1"),
    "any-bytes": b"Bearer \xff\xfe\x80",
    "long": b"Bearer " + b"a" * 10_000,
}


def ask(
    server: Server, path: str, authorization: bytes | None, method: str = "GET", **more: object
) -> requests.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return requests.request(method, f"{server.url}{path}", headers=headers, timeout=TIMEOUT_S, **more)


@pytest.mark.parametrize("authorization", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("path", ["/info", "/classify_text"])
def test_a_wrong_key_is_refused(guarded: Server, path: str, authorization: bytes | None) -> None:
    method = "POST" if path in POSTS else "GET"
    answer = ask(guarded, path, authorization, method, json={"text": "goal"})
    assert refusal(answer) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "PUT"])
@pytest.mark.parametrize("path", GETS + POSTS + OTHERS)
def test_every_other_path_and_method_wants_the_key(guarded: Server, path: str, method: str) -> None:
    """A path that is none, too: what there is, is no one else's business."""
    assert ask(guarded, path, None, method).status_code == 401


@pytest.mark.parametrize("path", OPEN)
def test_an_open_path_wants_none(guarded: Server, path: str) -> None:
    assert ask(guarded, path, None).status_code == 200


@pytest.mark.parametrize("path", GETS)
def test_the_right_key_opens_what_is_read(guarded: Server, path: str) -> None:
    assert ask(guarded, path, RIGHT).status_code == 200


def test_the_right_key_opens_what_answers(guarded: Server) -> None:
    png = {"files": [("images", ("a.png", plain(picture())))]}
    assert ask(guarded, "/classify_images", RIGHT, "POST", **png).status_code == 200
    png = {"files": [("image", ("a.png", plain(picture())))]}
    assert ask(guarded, "/classify_image", RIGHT, "POST", **png).status_code == 200
    assert ask(guarded, "/classify_text", RIGHT, "POST", json={"text": "goal"}).status_code == 200
    assert ask(guarded, "/classify_texts", RIGHT, "POST", json={"texts": ["goal"]}).status_code == 200


def test_who_has_no_key_is_not_listened_to(guarded: Server) -> None:
    """The refusal comes ahead of the body."""
    head = wire.head("/classify_texts", Content_Type=JSON, Content_Length="1000000")
    assert wire.send(guarded, [head]) == 401
    blocks = wire.chunked(itertools.repeat(bytes(1 << 20), 64))
    head = wire.head("/classify_images", Content_Type="multipart/form-data; boundary=x", Transfer_Encoding="chunked")
    with guarded.growth() as growth:
        wire.send(guarded, itertools.chain([head], blocks))
    assert max(growth) < 32 << 20
