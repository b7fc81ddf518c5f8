"""The document of the API is valid and has the limits in it; safety/test_fuzz.py holds the service against it."""

from typing import Any

import jsonschema_rs
import pytest
import schemathesis

from serving.openapi import document
from serving.settings import load_settings

LABELS = ["cat", "dog"], ["World", "Sports"]
SETTINGS = load_settings()
Node = dict[str, Any]


@pytest.fixture(scope="module")
def found() -> Node:
    return document(*LABELS, SETTINGS)


def json_body(found: Node, path: str) -> Node:
    return found["paths"][path]["post"]["requestBody"]["content"]["application/json"]


def errors(found: Node, path: str) -> dict[int, list[str]]:
    """The codes by status."""
    responses = {status: part for status, part in found["paths"][path]["post"]["responses"].items() if status != "200"}
    schemas = {int(status): part["content"]["application/json"]["schema"] for status, part in responses.items()}
    return {status: schema["properties"]["error"]["properties"]["code"]["enum"] for status, schema in schemas.items()}


def test_it_is_valid(found: Node) -> None:
    schemathesis.openapi.from_dict(found).validate()
    operations = [operation["operationId"] for path in found["paths"].values() for operation in path.values()]
    assert len(set(operations)) == len(operations) == 9


def test_every_schema_that_is_named_is_there(found: Node) -> None:
    for schema in found["components"]["schemas"]:
        jsonschema_rs.validator_for(found | {"$ref": f"#/components/schemas/{schema}"})


@pytest.mark.parametrize(
    ("path", "body", "is_right"),
    [
        ("/classify_text", {"text": "goal"}, True),
        ("/classify_text", {"text": ""}, False),
        ("/classify_text", {"text": " \n"}, False),
        ("/classify_text", {"text": 5}, False),
        ("/classify_text", {"text": "goal", "more": 1}, False),
        ("/classify_text", {}, False),
        ("/classify_text", {"text": "a" * (SETTINGS.max_text_bytes + 1)}, False),
        ("/classify_texts", {"texts": ["goal"] * SETTINGS.max_batch_items}, True),
        ("/classify_texts", {"texts": ["goal"] * (SETTINGS.max_batch_items + 1)}, False),
        ("/classify_texts", {"texts": []}, False),
        ("/classify_texts", {"texts": "goal"}, False),
    ],
)
def test_the_schemas_know_right_from_wrong(found: Node, path: str, body: Node, is_right: bool) -> None:
    assert jsonschema_rs.is_valid(json_body(found, path)["schema"], body) is is_right


def test_the_examples_are_right(found: Node) -> None:
    text, texts = (json_body(found, path) for path in ("/classify_text", "/classify_texts"))
    bodies = [(text, example["value"]) for example in text["examples"].values()] + [(texts, texts["example"])]
    assert all(jsonschema_rs.is_valid(content["schema"], body) for content, body in bodies)


def test_an_image_comes_in_a_form_or_raw(found: Node) -> None:
    content = found["paths"]["/classify_image"]["post"]["requestBody"]["content"]
    assert list(content) == ["multipart/form-data", "image/png", "image/jpeg", "image/webp"]


def test_the_limits_are_those_of_the_settings() -> None:
    limits = {"max_batch_items": 7, "max_image_bytes": 3 << 20, "max_text_bytes": 1000, "max_image_pixels": 1234}
    found = document(*LABELS, SETTINGS.model_copy(update=limits))
    assert json_body(found, "/classify_texts")["schema"]["properties"]["texts"]["maxItems"] == 7
    about = {path: found["paths"][path]["post"]["description"] for path in ("/classify_image", "/classify_text")}
    assert "3 MiB" in about["/classify_image"]
    assert "1,234 pixels" in about["/classify_image"]
    assert "1000 bytes" in about["/classify_text"]


def test_the_labels_are_those_of_the_models(found: Node) -> None:
    schemas = found["components"]["schemas"]
    for task, labels in zip(("Image", "Text"), LABELS, strict=True):
        for name in ("Score", "Prediction", "Item"):
            assert schemas[f"{task}{name}"]["properties"]["label"]["enum"] == labels


def test_an_item_of_a_batch_is_an_answer_or_an_error(found: Node) -> None:
    item = jsonschema_rs.validator_for(found | {"$ref": "#/components/schemas/TextItem"})
    assert item.is_valid({"label": "World", "probability": 1, "top": [{"label": "World", "probability": 1}]})
    assert item.is_valid({"error": {"code": "empty_text", "message": "the text is empty"}})
    assert not item.is_valid({"label": "cat", "probability": 1, "top": []})
    assert not item.is_valid({"label": None})


@pytest.mark.parametrize("path", ["/classify_image", "/classify_images", "/classify_text", "/classify_texts"])
def test_each_refusal_is_told_with_its_codes(found: Node, path: str) -> None:
    codes = errors(found, path)
    assert set(codes) == {400, 401, 408, 413, 415, 429}
    assert codes[401] == ["unauthorized"]
    assert "body_too_large" in codes[413]
    assert ("image_too_large" in codes[413]) is (path == "/classify_image")  # a batch tells it item by item


def test_a_key_may_be_wanted_by_all_but_the_probes(found: Node) -> None:
    assert found["security"] == [{}, {"key": []}]
    assert found["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    free = [path for path, operations in found["paths"].items() if operations.get("get", {}).get("security") == []]
    assert free == ["/livez", "/readyz"]
