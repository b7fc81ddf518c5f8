"""With RELU_API_KEY set, only the public paths answer a request without the key."""

import itertools

import pytest
import requests

from tests.servers import Server
from tests.serving.safety import wire
from tests.serving.safety.answers import JSON, TIMEOUT_S, refusal
from tests.serving.safety.conftest import KEY
from tests.serving.safety.pictures import picture, plain

pytestmark = pytest.mark.slow

PUBLIC = ["/", "/static/app.js", "/docs", "/docs.json", "/livez", "/readyz", "/healthz"]
PUBLIC += ["/schema.json"]  # BentoML's client asks for it first
GETS = ["/info", "/samples", "/metrics", "/relu_health/image.png", "/relu_health/text.png", "/card/image.html"]
POSTS = ["/classify_image", "/classify_images", "/classify_text", "/classify_texts"]
OTHERS = ["/nothing", "/classify_text/", "//classify_text", "/static/../info", "/%2e/info"]
RIGHT = f"Bearer {KEY}".encode()
ALSO_RIGHT = {
    "lower-case-scheme": f"bearer {KEY}".encode(),
    "upper-case-scheme": f"BEARER {KEY}".encode(),
    "two-spaces": f"Bearer  {KEY}".encode(),
    "space-behind": f"Bearer {KEY} ".encode(),
}
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
    "other-case": b"Bearer " + KEY.swapcase().encode(),
    "newline-in-the-variable": b"Bearer " + KEY.encode() + b"%0A",
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


@pytest.mark.parametrize("authorization", ALSO_RIGHT.values(), ids=ALSO_RIGHT)
def test_the_scheme_may_be_written_in_any_case_and_with_more_spaces(guarded: Server, authorization: bytes) -> None:
    """RFC 9110, 11.1. The service's own key ended with a newline, which does not count."""
    head = b"GET /info HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + authorization + b"\r\n\r\n"
    assert wire.send(guarded, [head]) == 200


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
    """A path that does not exist wants it too: without the key nobody learns which paths do."""
    assert ask(guarded, path, None, method).status_code == 401


@pytest.mark.parametrize("path", PUBLIC)
def test_a_public_path_wants_no_key(guarded: Server, path: str) -> None:
    assert ask(guarded, path, None).status_code == 200


@pytest.mark.parametrize("path", GETS)
def test_the_right_key_opens_each_path_for_get(guarded: Server, path: str) -> None:
    assert ask(guarded, path, RIGHT).status_code == 200


def test_the_right_key_opens_each_endpoint(guarded: Server) -> None:
    png = {"files": [("images", ("a.png", plain(picture())))]}
    assert ask(guarded, "/classify_images", RIGHT, "POST", **png).status_code == 200
    png = {"files": [("image", ("a.png", plain(picture())))]}
    assert ask(guarded, "/classify_image", RIGHT, "POST", **png).status_code == 200
    assert ask(guarded, "/classify_text", RIGHT, "POST", json={"text": "goal"}).status_code == 200
    assert ask(guarded, "/classify_texts", RIGHT, "POST", json={"texts": ["goal"]}).status_code == 200


def test_a_request_without_the_key_is_refused_before_its_body_is_read(guarded: Server) -> None:
    head = wire.head("/classify_texts", Content_Type=JSON, Content_Length="1000000")
    assert wire.send(guarded, [head]) == 401
    blocks = wire.chunked(itertools.repeat(bytes(1 << 20), 64))
    head = wire.head("/classify_images", Content_Type="multipart/form-data; boundary=x", Transfer_Encoding="chunked")
    with guarded.growth() as growth:
        wire.send(guarded, itertools.chain([head], blocks))
    assert max(growth) < 32 << 20
