"""A text has the prediction of the ONNX graph or is refused; what is not a text is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

from tests.serving.safety.answers import JSON, Caller, refusal, scores, scores_of

pytestmark = pytest.mark.slow

Ask = Callable[[str], dict[str, float] | None]
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="session")
def graph(models: Path) -> Ask:
    """Return the probabilities by label from the tokenizer and the graph alone; None for a text without words."""
    tokenizer = Tokenizer.from_file(str(models / "text/tokenizer.json"))
    session = InferenceSession(models / "text/model.onnx", providers=["CPUExecutionProvider"])
    labels = json.loads((models / "text/manifest.json").read_text())["labels"]

    def ask(text: str) -> dict[str, float] | None:
        ids = tokenizer.encode(text).ids
        if not ids:
            return None
        (probabilities,) = session.run(["probabilities"], {"token_ids": np.array([ids])})[0]
        return dict(zip(labels, probabilities.tolist(), strict=True))

    return ask


def same(answer: dict[str, float], expected: dict[str, float]) -> bool:
    return answer == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("The striker wins the cup final", id="plain"),
        pytest.param("goal\0goal", id="nul"),
        pytest.param("".join(map(chr, range(1, 32))) + "cup \x7f\x85\u2028 final", id="control-characters"),
        pytest.param("הבנק מעלה את הריבית על ההלוואות", id="right-to-left"),
        pytest.param("\u202eknab eht\u202c raises \u2067rates\u2069", id="direction-overrides"),
        pytest.param("🎉👩‍👩‍👧‍👦🏳️‍🌈 goal", id="emoji"),
        pytest.param("a" * 60_000, id="one-long-word"),
        pytest.param("goal " * 12_000, id="many-words"),
        pytest.param("e" + "\u0301" * 20_000, id="many-accents"),
        pytest.param("ﷺ" * 20_000, id="grows-in-normalisation"),
        pytest.param("[PAD] [UNK] <pad> <unk>", id="names-of-special-tokens"),
        pytest.param("\ufeffgoal\ufffe\uffff", id="non-characters"),
        pytest.param("http://127.0.0.1:9/ file:///etc/passwd ${jndi:ldap://a} {{7*7}}", id="injection"),
    ],
)
def test_any_text_has_the_prediction_of_the_graph(caller: Caller, graph: Ask, text: str) -> None:
    body = json.dumps({"text": text}, ensure_ascii=False).encode()
    response = caller.post("/classify_text", body, JSON)
    if (expected := graph(text)) is None:
        assert refusal(response) == (400, "empty_text")
    else:
        assert same(scores(response), expected)


@given(st.text(max_size=200))
@FEW
def test_any_characters_have_the_prediction_of_the_graph(caller: Caller, graph: Ask, text: str) -> None:
    response = caller.post("/classify_text", json.dumps({"text": text}), JSON)
    if response.status_code == 200:
        assert same(scores(response), graph(text))
    else:
        assert refusal(response) == (400, "empty_text")
        assert not text.strip() or not graph(text)


@given(st.lists(st.sampled_from(["goal", "cup final", "interest rates", "", " ", "🎉", "a" * 70_000]), min_size=1))
@FEW
def test_a_text_has_the_same_prediction_alone_and_in_a_batch(caller: Caller, texts: list[str]) -> None:
    found = caller.post("/classify_texts", json={"texts": texts}).json()["predictions"]
    assert len(found) == len(texts)
    for text, item in zip(texts, found, strict=True):
        if "error" in item:
            alone = caller.text(text).json()["error"]["code"]
            assert item["error"]["code"] == {"body_too_large": "text_too_large"}.get(alone, alone)
        else:
            assert same(scores_of(item), scores(caller.text(text)))


@pytest.mark.parametrize("text", ["", " ", "\t\r\n \u00a0\u2003", "\u0301"])
def test_a_text_without_words_is_refused(caller: Caller, text: str) -> None:
    assert refusal(caller.text(text)) == (400, "empty_text")


def test_a_text_of_a_megabyte_is_refused(caller: Caller) -> None:
    assert caller.text("a " * 500_000).status_code == 413


@pytest.mark.parametrize("path", ["/classify_text", "/classify_texts"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"text": "\xff\xfe goal"}', id="invalid-utf-8"),
        pytest.param(b'{"text": "\xc0\xaf"}', id="overlong-utf-8"),
        pytest.param(b'{"text": "\xed\xa0\x80"}', id="raw-surrogate"),
        pytest.param(b'{"text": "goal \\ud83c"}', id="escaped-surrogate"),
        pytest.param(b'{"text": "\\udc00\\ud800"}', id="surrogates-swapped"),
        pytest.param(b'{"text": "a\nb"}', id="raw-control-character"),
        pytest.param('{"text": "goal"}'.encode("utf-16"), id="utf-16"),
        pytest.param(b'{"text": "goal"', id="unclosed"),
        pytest.param(b'{"text": "goal"}}', id="more-than-closed"),
        pytest.param(b"{'text': 'goal'}", id="single-quotes"),
        pytest.param(b'{"text": NaN}', id="nan"),
        pytest.param(b'{"text": -Infinity}', id="infinity"),
        pytest.param(b'{"text": 1e999}', id="huge-float"),
        pytest.param(b'{"text": ' + b"9" * 20_000 + b"}", id="huge-integer"),
        pytest.param(b'{"text": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", id="deep-list"),
        pytest.param(b'{"a":' * 200 + b"1" + b"}" * 200, id="deep-object"),
        pytest.param(b"", id="no-bytes"),
        pytest.param(b"   ", id="spaces"),
        pytest.param(b"text=goal", id="a-form"),
        pytest.param(b"--x\r\n\r\n", id="multipart"),
    ],
)
def test_what_is_not_json_is_refused(caller: Caller, path: str, body: bytes) -> None:
    assert (
        caller.post(path, body.replace(b'"text"', b'"%s"' % path[len("/classify_") :].encode()), JSON).status_code
        == 400
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/classify_text", b'{"text": null}'),
        ("/classify_text", b'{"text": true}'),
        ("/classify_text", b'{"text": 5}'),
        ("/classify_text", b'{"text": ["goal"]}'),
        ("/classify_text", b'{"text": {"text": "goal"}}'),
        ("/classify_text", b'{"texts": ["goal"]}'),
        ("/classify_text", b'{"text": "goal", "more": 1}'),
        ("/classify_text", b'{"Text": "goal"}'),
        ("/classify_texts", b'{"texts": null}'),
        ("/classify_texts", b'{"texts": "goal"}'),
        ("/classify_texts", b'{"texts": {"0": "goal"}}'),
        ("/classify_texts", b'{"texts": []}'),
        ("/classify_texts", b'{"text": "goal"}'),
        ("/classify_texts", b'{"texts": ["goal"], "more": 1}'),
        *[
            (path, body)
            for path in ("/classify_text", "/classify_texts")
            for body in (b"{}", b"[]", b'"goal"', b"null")
        ],
    ],
)
def test_json_that_does_not_match_the_schema_is_refused(caller: Caller, path: str, body: bytes) -> None:
    assert caller.post(path, body, JSON).status_code == 400


@pytest.mark.parametrize(("count", "status"), [(256, 200), (257, 413), (100_000, 413)])
def test_a_batch_has_a_maximum_number_of_items(caller: Caller, count: int, status: int) -> None:
    assert caller.post("/classify_texts", json={"texts": ["a"] * count}).status_code == status


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param(b'{"text": "goal", "text": "interest rates"}', "interest rates", id="duplicate-key"),
        pytest.param(b'\xef\xbb\xbf{"text": "goal"}', "goal", id="byte-order-mark"),
        pytest.param(b'{"text": "\\ud83c\\udf89 goal"}', "🎉 goal", id="surrogate-pair"),
        pytest.param(b'{"\\u0074ext": "goal"}', "goal", id="escaped-key"),
    ],
)
def test_unusual_json_is_read_as_the_standard_says_or_refused(
    caller: Caller, graph: Ask, body: bytes, text: str
) -> None:
    response = caller.post("/classify_text", body, JSON)
    if response.status_code == 200:
        assert same(scores(response), graph(text))
    else:
        assert response.status_code == 400


@pytest.mark.parametrize("item", [None, 5, True, [], {}, ["goal"], 1e308])
def test_an_item_that_is_not_a_string_fails_the_batch(caller: Caller, item: object) -> None:
    response = caller.post("/classify_texts", json={"texts": ["goal", item, "goal"]})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "surrogate", [b"\\ud800", b"\\udfff goal", b"goal \\uD83C", b"\\ud800\\ud800", b"\\udf89\\ud83c"]
)
def test_a_lone_surrogate_is_an_error_of_its_item_alone(caller: Caller, surrogate: bytes) -> None:
    body = b'{"texts": ["goal", "' + surrogate + b'", "\\ud83c\\udf89 goal", "goal"]}'
    first, second, third, fourth = caller.post("/classify_texts", body, JSON).json()["predictions"]
    assert second == {"error": {"code": "invalid_text", "message": second["error"]["message"]}}
    assert first == fourth
    assert same(scores_of(third), scores(caller.text("\N{PARTY POPPER} goal")))
