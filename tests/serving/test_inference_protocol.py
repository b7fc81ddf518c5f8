"""The Open Inference Protocol: in this process, and by Triton's client against a real service."""

import base64
import json
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from serving.app import create_app, intakes
from serving.drain import Drain
from serving.inference_messages import MAX_HEAD_BYTES
from serving.inference_protocol import ProtocolApi
from serving.middleware import ServiceMiddleware
from serving.predictor import Predictor
from serving.settings import load_settings
from tests.servers import copy_project, start
from tests.serving.safety.pictures import encode, picture

SIDE = 32
KEY = "the-key"
HEAD_LENGTH = "Inference-Header-Content-Length"
TEXTS = ["The striker wins the cup final", "Oil prices fall", "Überfall: 3 Festnahmen"]
ARRAYS = [np.asarray(image.resize((SIDE, SIDE))) for image in (picture(), picture().rotate(90), picture().rotate(180))]
FILES = [encode(Image.fromarray(array)) for array in ARRAYS]
FILES_BASE64 = [base64.b64encode(content).decode() for content in FILES]
FORMS_OF_IMAGES = {"content", "alternative"}
BOMB_BYTES = 2_000_000


def asked_in_process(predictor: Predictor, is_ready: Callable[[], bool] = lambda: True, **more: Any) -> TestClient:
    async def bentoml(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("no path of the protocol is BentoML's")

    limits = {"key": None, "deadline_s": 60.0, "buffered_bytes": 1 << 28, "access_log": False}
    drain = Drain(0, 1, lambda: 0)
    app = ServiceMiddleware(bentoml, create_app(predictor, is_ready), intakes(predictor), drain, **{**limits, **more})
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> TestClient:
    return asked_in_process(predictor)


def request(task: str, data: Any = None, shape: Any = None, datatype: str = "BYTES", **more: Any) -> dict[str, Any]:
    tensor = {"name": task, "shape": [len(data or ())] if shape is None else shape, "datatype": datatype}
    return {"inputs": [{**tensor, **({} if data is None else {"data": data})}], **more}


def binary_body(head: Any, content: bytes) -> tuple[bytes, dict[str, str]]:
    encoded = json.dumps(head).encode()
    return encoded + content, {HEAD_LENGTH: str(len(encoded)), "Content-Type": "application/octet-stream"}


def binary_request(
    task: str, content: bytes, shape: list[int], datatype: str = "BYTES", size: int | None = None
) -> tuple[bytes, dict[str, str]]:
    head = request(task, None, shape, datatype)
    head["inputs"][0]["parameters"] = {"binary_data_size": len(content) if size is None else size}
    return binary_body(head, content)


def in_elements(contents: list[bytes]) -> bytes:
    return b"".join(len(content).to_bytes(4, "little") + content for content in contents)


def post(client: TestClient, task: str, body: Any, headers: dict[str, str] | None = None) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(f"/v2/models/{task}/infer", content=content, headers=headers)


def error_of(response: Any) -> str:
    """Return the message of an error in the protocol's form."""
    assert 400 <= response.status_code < 500, response.text
    assert set(response.json()) == {"error"}
    assert response.json()["error"].endswith(".")
    return response.json()["error"]


def test_the_metadata_name_the_tensors(client: TestClient, predictor: Predictor) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    for task in ("image", "text"):
        model = predictor.stores[task].current
        found = client.get(f"/v2/models/{task}").json()
        assert (found["name"], found["versions"]) == (task, [model.version.version])
        assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in found["inputs"]] == [
            (task, "BYTES", [-1])
        ]
        assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in found["outputs"]] == [
            ("label", "BYTES", [-1]),
            ("probability", "FP32", [-1]),
            ("probabilities", "FP32", [-1, len(model.labels)]),
        ]
        assert found["outputs"][2]["parameters"]["labels"] == model.labels
        assert found["inputs"][0].get("parameters", {}).keys() == (FORMS_OF_IMAGES if task == "image" else set())


@pytest.mark.parametrize("is_ready", [True, False])
def test_the_probes_follow_the_readiness(predictor: Predictor, is_ready: bool) -> None:
    client = asked_in_process(predictor, lambda: is_ready)
    for path, more in (("/v2/health/ready", {}), ("/v2/models/text/ready", {"name": "text"})):
        response = client.get(path)
        assert response.status_code == (200 if is_ready else 503)
        assert response.json() == {"ready": is_ready, **more}
    assert client.get("/v2/health/live").json() == {"live": True}


def test_only_the_models_that_are_there_have_endpoints(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "text", tmp_path / "text")
    client = asked_in_process(Predictor(tmp_path, load_settings()))
    assert client.get("/v2/models/text/ready").status_code == 200
    assert post(client, "text", request("text", TEXTS)).status_code == 200
    for path in ("/v2/models/image", "/v2/models/image/ready", "/v2/models/text/versions/1", "/v2/models"):
        assert client.get(path).status_code == 404
    assert post(client, "image", request("image", FILES_BASE64)).status_code == 404


PREPARED = np.stack(ARRAYS)
SAME_REQUESTS: dict[str, tuple[str, Any, dict[str, str]]] = {
    "texts": ("text", request("text", TEXTS), {}),
    "texts in a column": ("text", request("text", [[text] for text in TEXTS], [3, 1]), {}),
    "texts with null for what is optional": (
        "text",
        request("text", TEXTS, id=None, parameters=None, outputs=None),
        {},
    ),
    "binary texts": ("text", *binary_request("text", in_elements([text.encode() for text in TEXTS]), [3])),
    "files": ("image", request("image", FILES_BASE64), {}),
    "binary files": ("image", *binary_request("image", in_elements(FILES), [3, 1])),
    "arrays": ("image", request("image", PREPARED.tolist(), list(PREPARED.shape), "UINT8"), {}),
    "flat arrays": ("image", request("image", PREPARED.ravel().tolist(), list(PREPARED.shape), "UINT8"), {}),
    "binary arrays": ("image", *binary_request("image", PREPARED.tobytes(), list(PREPARED.shape), "UINT8")),
}


@pytest.mark.parametrize("name", SAME_REQUESTS)
def test_every_form_of_the_input_gives_the_same_predictions(
    client: TestClient, predictor: Predictor, name: str
) -> None:
    task, body, headers = SAME_REQUESTS[name]
    response = post(client, task, body, headers)
    assert response.status_code == 200, response.text
    outputs = {output["name"]: output for output in response.json()["outputs"]}
    expected = predictor.classify_batch(task, {"text": TEXTS, "image": FILES}[task])["predictions"]
    assert outputs["label"]["data"] == [answer["label"] for answer in expected]
    assert outputs["probability"]["data"] == [answer["probability"] for answer in expected]
    labels = predictor.stores[task].current.labels
    probabilities = np.reshape(outputs["probabilities"]["data"], outputs["probabilities"]["shape"])
    for row, answer in zip(probabilities, expected, strict=True):
        assert {score["label"]: score["probability"] for score in answer["top"]}.items() <= dict(
            zip(labels, row, strict=True)
        ).items()


def test_more_examples_than_one_run_of_the_graph_takes(client: TestClient, predictor: Predictor) -> None:
    texts = [f"Company {number} wins the cup" for number in range(150)]
    outputs = post(client, "text", request("text", texts, outputs=[{"name": "probability"}])).json()["outputs"]
    expected = predictor.classify_batch("text", texts)["predictions"]
    assert outputs[0]["data"] == [answer["probability"] for answer in expected]


def test_the_outputs_are_those_that_are_wanted_in_their_order(client: TestClient) -> None:
    wanted = [{"name": "probability", "parameters": {"binary_data": True}}, {"name": "label"}]
    response = post(client, "text", request("text", TEXTS, outputs=wanted, id="42"))
    assert response.headers["Content-Type"] == "application/octet-stream"
    length = int(response.headers[HEAD_LENGTH])
    head = json.loads(response.content[:length])
    assert (head["id"], head["model_name"]) == ("42", "text")
    probability, label = head["outputs"]
    assert (probability["name"], probability["parameters"]) == ("probability", {"binary_data_size": 12})
    assert (label["name"], len(label["data"])) == ("label", 3)
    assert np.all(np.frombuffer(response.content[length:], "<f4") > 0.25)


def test_an_output_may_be_json_where_the_others_are_binary(client: TestClient) -> None:
    wanted = [{"name": "label", "parameters": {"binary_data": False}}]
    body = request("text", TEXTS, outputs=wanted, parameters={"binary_data_output": True, "priority": 1})
    response = post(client, "text", body)
    assert response.headers["Content-Type"] == "application/json"
    assert len(response.json()["outputs"][0]["data"]) == 3


TEXT = request("text", ["a goal"])
TENSOR = TEXT["inputs"][0]
PNG = in_elements(FILES[:1])
ONE_ARRAY = [1, SIDE, SIDE, 3]


def changed(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**TENSOR, **changes}]}


MALFORMED: dict[str, tuple[str, int, Any, dict[str, str]]] = {
    "nothing": ("text", 400, b"", {}),
    "no JSON": ("text", 400, b"{", {}),
    "no UTF-8": ("text", 400, json.dumps(TEXT).encode().replace(b"goal", b"\xff"), {}),
    "a lone surrogate": ("text", 400, json.dumps(TEXT).encode().replace(b"goal", b"\\ud800"), {}),
    "deep nesting": ("text", 400, b"[" * 100_000, {}),
    "deep nesting in the data": ("text", 400, b'{"inputs":[{"data":' + b"[" * 100_000, {}),
    "a list": ("text", 400, [], {}),
    "no inputs": ("text", 400, {"inputs": []}, {}),
    "inputs that are null": ("text", 400, {"inputs": None}, {}),
    "an input twice": ("text", 400, {"inputs": [TENSOR, TENSOR]}, {}),
    "another input": ("text", 400, changed(name="image"), {}),
    "another datatype": ("text", 400, changed(datatype="FP32"), {}),
    "an unknown datatype": ("text", 400, changed(datatype="TEXT"), {}),
    "a scalar": ("text", 400, changed(shape=[]), {}),
    "no example": ("text", 400, changed(shape=[0], data=[]), {}),
    "too many examples": ("text", 413, changed(shape=[257], data=["a"] * 257), {}),
    "a negative size": ("text", 400, changed(shape=[-1]), {}),
    "a huge size": ("text", 413, changed(shape=[1 << 32]), {}),
    "a size beyond 64 bits": ("text", 400, changed(shape=[1 << 70]), {}),
    "sizes whose product overflows": ("image", 400, request("image", [1], [1, *[1 << 32] * 4], "UINT8"), {}),
    "a size of 0 among others": ("image", 400, request("image", [], [1, 0, SIDE, 3], "UINT8"), {}),
    "a size that is no integer": ("text", 400, changed(shape=[1.5]), {}),
    "too many dimensions": ("text", 400, changed(shape=[1, 1, 1]), {}),
    "fewer texts than the shape": ("text", 400, changed(shape=[2]), {}),
    "more texts than the shape": ("text", 413, changed(data=["a", "b"]), {}),
    "a row of two": ("text", 400, changed(shape=[2, 1], data=[["a", "b"]]), {}),
    "an empty row": ("text", 400, changed(data=[[], "a"]), {}),
    "a number for a text": ("text", 400, changed(data=[1]), {}),
    "a string for the data": ("text", 400, changed(data="a goal"), {}),
    "data that are null": ("text", 400, changed(data=None), {}),
    "no data": ("text", 400, {"inputs": [{name: TENSOR[name] for name in ("name", "shape", "datatype")}]}, {}),
    "an empty text": ("text", 400, changed(data=[""]), {}),
    "an unknown output": ("text", 400, {**TEXT, "outputs": [{"name": "logits"}]}, {}),
    "an output twice": ("text", 400, {**TEXT, "outputs": [{"name": "label"}] * 2}, {}),
    "an id that is no string": ("text", 400, {**TEXT, "id": 1}, {}),
    "a flag that is none": ("text", 400, {**TEXT, "parameters": {"binary_data_output": 1}}, {}),
    "no base64": ("image", 400, request("image", ["="]), {}),
    "base64 that is not ASCII": ("image", 400, request("image", ["é"]), {}),
    "no image": ("image", 400, request("image", ["aGVsbG8="]), {}),
    "fewer numbers than the shape": ("image", 400, request("image", [0] * 3071, ONE_ARRAY, "UINT8"), {}),
    "more numbers than the shape": ("image", 400, request("image", [0] * 3073, ONE_ARRAY, "UINT8"), {}),
    "a number above 255": ("image", 400, request("image", [256] * 3072, ONE_ARRAY, "UINT8"), {}),
    "a number below 0": ("image", 400, request("image", [-1] * 3072, ONE_ARRAY, "UINT8"), {}),
    "strings for numbers": ("image", 400, request("image", ["0"] * 3072, ONE_ARRAY, "UINT8"), {}),
    "empty rows": ("image", 400, request("image", [[]] * 3072, ONE_ARRAY, "UINT8"), {}),
    "an array of another size": ("image", 400, request("image", [0] * 3, [1, 1, 1, 3], "UINT8"), {}),
    "an array of another layout": ("image", 400, request("image", [0] * 3072, [1, 3, SIDE, SIDE], "UINT8"), {}),
    "an array for a text": ("text", 400, request("text", [0] * 3072, ONE_ARRAY, "UINT8"), {}),
    "a binary array too short": ("image", 400, *binary_request("image", bytes(3071), ONE_ARRAY, "UINT8")),
    "a binary array too long": ("image", 400, *binary_request("image", bytes(3073), ONE_ARRAY, "UINT8")),
    "a size beyond the body": ("image", 400, *binary_request("image", PNG, [1], size=len(PNG) + 1)),
    "trailing bytes": ("image", 400, *binary_request("image", PNG, [1], size=len(PNG) - 1)),
    "a negative binary size": ("image", 400, *binary_request("image", PNG, [1], size=-1)),
    "bytes after JSON data": ("text", 400, *binary_body(TEXT, b"x")),
    "data twice": ("text", 400, *binary_body(changed(parameters={"binary_data_size": 8}), in_elements([b"goal"]))),
    "a length prefix beyond the data": ("image", 400, *binary_request("image", b"\xff\xff\xff\xffx", [1])),
    "half a length prefix": ("image", 400, *binary_request("image", PNG + b"\0\0", [2])),
    "fewer elements than the shape": ("image", 400, *binary_request("image", PNG, [2])),
    "more elements than the shape": ("image", 400, *binary_request("image", 2 * PNG, [1])),
    "no binary elements": ("image", 400, *binary_request("image", b"", [1])),
    "a binary text that is not UTF-8": ("text", 400, *binary_request("text", in_elements([b"\xff"]), [1])),
    "a head longer than the body": ("text", 400, TEXT, {HEAD_LENGTH: "1000"}),
    "a head of no bytes": ("text", 400, TEXT, {HEAD_LENGTH: "0"}),
    "a negative head": ("text", 400, TEXT, {HEAD_LENGTH: "-1"}),
    "a head length that is no number": ("text", 400, TEXT, {HEAD_LENGTH: "1e1"}),
    "a head length in other digits": ("text", 400, TEXT, {HEAD_LENGTH: "\xb2"}),
    "a head length of many digits": ("text", 400, TEXT, {HEAD_LENGTH: "9" * 5000}),
    "a large head": ("text", 413, {**TEXT, "id": "a" * MAX_HEAD_BYTES}, {}),
    "another media type": ("text", 415, TEXT, {"Content-Type": "text/plain"}),
    "a compressed body": ("text", 415, TEXT, {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_rejected_in_the_form_of_the_protocol(client: TestClient, name: str) -> None:
    task, status, body, headers = MALFORMED[name]
    encoded = {field: value.encode("latin-1") for field, value in headers.items()}
    response = post(client, task, body, encoded)
    assert response.status_code == status, response.text
    assert len(error_of(response)) < 1000


def test_the_message_has_the_index_of_what_cannot_be_read(client: TestClient) -> None:
    response = post(client, "image", request("image", [FILES_BASE64[0], "aGVsbG8="]))
    assert error_of(response) == "Element 1: The file is not a readable PNG, JPEG or WebP image."
    assert error_of(post(client, "text", request("text", ["goal", "goal", " "]))).startswith("Element 2: ")


def test_only_the_paths_of_the_protocol_have_its_form_of_errors(predictor: Predictor) -> None:
    client = asked_in_process(predictor, key=KEY)
    for path in ("/v2", "/v2/models/text", "/v2/models/none"):
        assert "key" in error_of(client.get(path))
    assert "GET" in error_of(client.get("/v2/models/text/infer", headers={"Authorization": f"Bearer {KEY}"}))
    assert client.get("/v2/health/ready").status_code == 200
    for path in ("/info", "/v20", "/v2x/models"):
        assert client.get(path).json()["error"]["code"] == "unauthorized"


def test_an_image_that_no_client_waits_for_is_not_decoded(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []
    monkeypatch.setattr(predictor.stores["image"].current, "read", decoded.append)
    given_up = Event()
    given_up.set()
    body = json.dumps(request("image", FILES_BASE64)).encode()
    with pytest.raises(ClientDisconnect):
        ProtocolApi(predictor, lambda: True).respond("image", body, None, given_up)
    assert not decoded


def test_a_failure_of_the_service_has_the_form_of_the_protocol(
    predictor: Predictor, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(predictor.stores["text"].current, "session")
    response = post(client, "text", TEXT)
    assert (response.status_code, response.json()) == (500, {"error": "Internal error; see the service's log."})


def bomb(part: bytes, before: str, after: str) -> bytes:
    return before.encode() + part * (BOMB_BYTES // len(part)) + after.encode()


START = '{"inputs":[{"name":"text","datatype":"BYTES","shape":[256],'
ARRAY_START = '{"inputs":[{"name":"image","datatype":"UINT8","shape":[256,32,32,3],"data":['
BOMBS = {
    "dimensions": bomb(b"0,", '{"inputs":[{"name":"text","datatype":"BYTES","data":["a"],"shape":[', "0]}]}"),
    "inputs": bomb(b"{},", '{"inputs":[', "{}]}"),
    "outputs": bomb(b'{"name":"label"},', f'{START}"data":["a"]}}],"outputs":[', '{"name":"label"}]}'),
    "data twice": bomb(b'{"name":"label"},', f'{START}"data":["a"],"data":[', '{"name":"label"}]}]}'),
    "texts": bomb(b'"",', f'{START}"data":[', '""]}]}'),
    "rows": bomb(b"[],", f'{START}"data":[', "[]]}]}"),
    "rows of texts": bomb(b'[""],', f'{START}"data":[', '[""]]}]}'),
    "numbers": bomb(b"0,", f'{START}"data":[', "0]}]}"),
    "numbers of an array": bomb(b"0,", ARRAY_START, "0]}]}"),
    "rows of an array": bomb(b"[],", ARRAY_START, "[]]}]}"),
    "spaces in an array": bomb(b" ", ARRAY_START, "0]}]}"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_body_takes_many_times_its_size_in_memory(client: TestClient, name: str) -> None:
    task = "image" if "array" in name else "text"
    tracemalloc.start()
    try:
        response = post(client, task, BOMBS[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    error_of(response)
    assert peak < 6 * BOMB_BYTES  # of which two are the client's


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
SIZES = st.sampled_from([0, 1, 2, 3, SIDE, 256, 257, 1 << 31, 1 << 32, 1 << 63, 1 << 64, -1])
SHAPES = st.sampled_from([[1], [2], [1, 1], ONE_ARRAY]) | st.lists(SIZES, max_size=5)
TEXTS_OR_FILES = st.lists(st.text(max_size=5) | st.sampled_from(FILES_BASE64), max_size=3)


def heads(other: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return requests of all kinds, with `other` in any place."""
    parameters = st.fixed_dictionaries(
        {},
        optional={
            "binary_data_size": st.just(len(PNG)) | SIZES | other,
            "binary_data": st.booleans() | other,
            "binary_data_output": st.booleans() | other,
            "priority": JSON_VALUES,
        },
    )
    tensor = st.fixed_dictionaries(
        {
            "name": st.sampled_from(["image", "text"]) | other,
            "datatype": st.sampled_from(["BYTES", "BYTES", "UINT8", "FP32"]) | other,
            "shape": SHAPES | other,
        },
        optional={"data": TEXTS_OR_FILES | other, "parameters": parameters | other},
    )
    output = st.fixed_dictionaries(
        {"name": st.sampled_from(["label", "probability", "probabilities"]) | other},
        optional={"parameters": parameters | other},
    )
    return st.fixed_dictionaries(
        {"inputs": st.tuples(tensor) | st.lists(tensor | other, max_size=2) | other},
        optional={
            "outputs": st.lists(output, max_size=4) | other,
            "id": st.text(max_size=5) | other,
            "parameters": parameters | other,
        },
    )


HEADS = heads(st.nothing()) | heads(JSON_VALUES)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, dict[str, bytes]]:
    """Draw heads with wrong values, right requests with changed bytes, and lengths around the right one."""
    if draw(st.booleans()):
        head, content = json.dumps(draw(HEADS)).encode(), draw(st.binary(max_size=20) | st.just(PNG))
    else:
        _, body, headers = SAME_REQUESTS[draw(st.sampled_from(["texts", "binary texts", "files", "binary files"]))]
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        length = int(headers.get(HEAD_LENGTH, len(encoded)))
        head, content = encoded[:length], encoded[length:]
        position = draw(st.integers(0, len(head)))
        head = head[:position] + draw(st.binary(max_size=3)) + head[position + draw(st.integers(0, 3)) :]
    length = len(head) + draw(st.sampled_from([0, 0, 0, -1, 1, 4]))
    headers = {} if draw(st.booleans()) else {HEAD_LENGTH: str(length).encode()}
    return head + content, headers


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(task=st.sampled_from(["image", "text"]), body=bodies())
def test_no_head_is_a_failure_of_the_service(
    client: TestClient, task: str, body: tuple[bytes, dict[str, bytes]]
) -> None:
    response = post(client, task, *body)
    if response.status_code != 200:
        error_of(response)


@pytest.fixture(scope="module")
def url(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    project = copy_project(tmp_path_factory.mktemp("protocol") / "project", precision="fp32")
    with start(models, project=project) as running:
        yield running.url


@pytest.fixture(scope="module")
def triton(url: str) -> Iterator[Any]:
    """Triton's client. Its gevent leaves this process' own sockets as they are."""
    import tritonclient.http

    with tritonclient.http.InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


def infer(triton: Any, task: str, values: np.ndarray, binary: bool = True, **more: Any) -> dict[str, np.ndarray]:
    import tritonclient.http

    tensor = tritonclient.http.InferInput(task, list(values.shape), "UINT8" if values.dtype == np.uint8 else "BYTES")
    tensor.set_data_from_numpy(values, binary_data=binary)
    names = ("label", "probability", "probabilities")
    outputs = None if binary else [tritonclient.http.InferRequestedOutput(name, binary_data=False) for name in names]
    result = triton.infer(task, [tensor], outputs=outputs, **more)
    return {name: result.as_numpy(name) for name in names}


def objects(values: list[Any]) -> np.ndarray:
    return np.array(values, dtype=object)


def check_same(found: dict[str, np.ndarray], predictions: list[dict[str, Any]]) -> None:
    labels = [label.decode() if isinstance(label, bytes) else label for label in found["label"]]
    assert labels == [answer["label"] for answer in predictions]
    assert found["probability"].tolist() == [answer["probability"] for answer in predictions]
    for row, answer in zip(found["probabilities"], predictions, strict=True):
        top = [score["probability"] for score in answer["top"]]
        assert sorted(row.tolist(), reverse=True)[: len(top)] == top


@pytest.mark.slow
def test_tritons_client_finds_the_service_ready(triton: Any) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("image")
    assert not triton.is_model_ready("none")
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert triton.get_model_metadata("text")["inputs"][0]["datatype"] == "BYTES"


@pytest.mark.slow
def test_tritons_client_gets_the_same_predictions_of_images(url: str, triton: Any) -> None:
    files = [("images", content) for content in FILES]
    expected = requests.post(f"{url}/classify_images", files=files, timeout=10).json()["predictions"]
    check_same(infer(triton, "image", objects(FILES)), expected)
    check_same(infer(triton, "image", objects(FILES).reshape(3, 1)), expected)
    check_same(infer(triton, "image", objects(FILES_BASE64), binary=False), expected)
    check_same(infer(triton, "image", PREPARED), expected)
    check_same(infer(triton, "image", PREPARED, binary=False), expected)


@pytest.mark.slow
def test_tritons_client_gets_the_same_predictions_of_texts(url: str, triton: Any) -> None:
    expected = requests.post(f"{url}/classify_texts", json={"texts": TEXTS}, timeout=10).json()["predictions"]
    check_same(infer(triton, "text", objects([text.encode() for text in TEXTS])), expected)
    check_same(infer(triton, "text", objects(TEXTS), binary=False), expected)


@pytest.mark.slow
def test_tritons_client_raises_a_readable_error(triton: Any) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match=r"^\[400\] Element 1: The text is empty\.$"):
        infer(triton, "text", objects([b"goal", b""]))
    with pytest.raises(InferenceServerException, match=r"^\[415\] Content encoding gzip"):
        infer(triton, "text", objects([b"goal"]), request_compression_algorithm="gzip")
    with pytest.raises(InferenceServerException, match=r"^\[404\] /v2/models/none/infer does not exist"):
        infer(triton, "none", objects([b"goal"]))


def test_binary_labels_follow_their_lengths_in_four_bytes(client: TestClient, predictor: Predictor) -> None:
    wanted = [{"name": "label", "parameters": {"binary_data": True}}]
    response = post(client, "text", request("text", TEXTS, outputs=wanted))
    length = int(response.headers[HEAD_LENGTH])
    expected = predictor.classify_batch("text", TEXTS)["predictions"]
    content = in_elements([answer["label"].encode() for answer in expected])
    assert response.content[length:] == content
    (label,) = json.loads(response.content[:length])["outputs"]
    assert label["parameters"] == {"binary_data_size": len(content)}


def test_the_message_says_how_many_binary_elements_there_are(client: TestClient) -> None:
    response = post(client, "image", *binary_request("image", PNG, [2]))
    assert error_of(response) == "The input has 1 elements, but its shape has 2."
