"""The OpenAPI document is valid and states the limits; safety/test_fuzz.py checks that the service keeps to it."""

from typing import Any

import jsonschema_rs
import pytest
import schemathesis

from serving.openapi import document
from serving.settings import load_settings

LABELS = {"image": ["cat", "dog"], "text": ["World", "Sports"]}
LIMITS = load_settings().limits
Node = dict[str, Any]


@pytest.fixture(scope="module")
def found() -> Node:
    return document(LABELS, LIMITS)


def json_body(found: Node, path: str) -> Node:
    return found["paths"][path]["post"]["requestBody"]["content"]["application/json"]


def errors(found: Node, path: str) -> dict[int, list[str]]:
    """Return the codes of errors by status."""
    responses = {status: part for status, part in found["paths"][path]["post"]["responses"].items() if status != "200"}
    schemas = {int(status): part["content"]["application/json"]["schema"] for status, part in responses.items()}
    return {status: schema["properties"]["error"]["properties"]["code"]["enum"] for status, schema in schemas.items()}


def test_the_document_is_valid(found: Node) -> None:
    schemathesis.openapi.from_dict(found).validate()
    operations = [operation["operationId"] for path in found["paths"].values() for operation in path.values()]
    assert len(set(operations)) == len(operations) == 9


def test_every_schema_is_valid(found: Node) -> None:
    for schema in found["components"]["schemas"]:
        jsonschema_rs.validator_for(found | {"$ref": f"#/components/schemas/{schema}"})


@pytest.mark.parametrize(
    ("path", "body", "is_valid"),
    [
        ("/classify_text", {"text": "goal"}, True),
        ("/classify_text", {"text": ""}, False),
        ("/classify_text", {"text": " \n"}, False),
        ("/classify_text", {"text": 5}, False),
        ("/classify_text", {"text": "goal", "more": 1}, False),
        ("/classify_text", {}, False),
        ("/classify_text", {"text": "a" * (LIMITS.text_bytes + 1)}, False),
        ("/classify_texts", {"texts": ["goal"] * LIMITS.batch_items}, True),
        ("/classify_texts", {"texts": ["goal"] * (LIMITS.batch_items + 1)}, False),
        ("/classify_texts", {"texts": []}, False),
        ("/classify_texts", {"texts": "goal"}, False),
    ],
)
def test_the_schemas_accept_valid_bodies_alone(found: Node, path: str, body: Node, is_valid: bool) -> None:
    assert jsonschema_rs.is_valid(json_body(found, path)["schema"], body) is is_valid


def test_the_examples_are_valid(found: Node) -> None:
    text, texts = (json_body(found, path) for path in ("/classify_text", "/classify_texts"))
    bodies = [(text, example["value"]) for example in text["examples"].values()] + [(texts, texts["example"])]
    assert all(jsonschema_rs.is_valid(content["schema"], body) for content, body in bodies)


def test_an_image_may_be_sent_in_a_form_or_raw(found: Node) -> None:
    content = found["paths"]["/classify_image"]["post"]["requestBody"]["content"]
    assert list(content) == ["multipart/form-data", "image/png", "image/jpeg", "image/webp"]


def test_the_limits_are_those_of_the_settings() -> None:
    limits = {"batch_items": 7, "image_bytes": 3 << 20, "text_bytes": 1000, "image_pixels": 1234}
    found = document(LABELS, LIMITS.model_copy(update=limits))
    assert json_body(found, "/classify_texts")["schema"]["properties"]["texts"]["maxItems"] == 7
    about = {path: found["paths"][path]["post"]["description"] for path in ("/classify_image", "/classify_text")}
    assert "3 MiB" in about["/classify_image"]
    assert "1,234 pixels" in about["/classify_image"]
    assert "1000 bytes" in about["/classify_text"]


def test_the_labels_are_those_of_the_models(found: Node) -> None:
    schemas = found["components"]["schemas"]
    for task, labels in LABELS.items():
        for name in ("Score", "Prediction", "Item"):
            assert schemas[f"{task.capitalize()}{name}"]["properties"]["label"]["enum"] == labels


@pytest.mark.parametrize("task", LABELS)
def test_a_document_of_one_task_has_nothing_of_the_other(task: str) -> None:
    alone = document({task: LABELS[task]}, LIMITS)
    schemathesis.openapi.from_dict(alone).validate()
    other = {"image": "text", "text": "image"}[task]
    posts = [path for path, operations in alone["paths"].items() if "post" in operations]
    assert posts == [f"/classify_{task}", f"/classify_{task}s"]
    assert all(name.startswith(task.capitalize()) for name in alone["components"]["schemas"])
    assert [tag["name"] for tag in alone["tags"]] == [task, "service"]
    samples = alone["paths"]["/samples"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert list(samples["properties"]) == [task]
    assert other not in alone["info"]["description"]


def test_an_item_of_a_batch_is_a_prediction_or_an_error(found: Node) -> None:
    item = jsonschema_rs.validator_for(found | {"$ref": "#/components/schemas/TextItem"})
    assert item.is_valid({"label": "World", "probability": 1, "top": [{"label": "World", "probability": 1}]})
    assert item.is_valid({"error": {"code": "empty_text", "message": "the text is empty"}})
    assert not item.is_valid({"label": "cat", "probability": 1, "top": []})
    assert not item.is_valid({"label": None})


@pytest.mark.parametrize("path", ["/classify_image", "/classify_images", "/classify_text", "/classify_texts"])
def test_each_error_status_is_documented_with_its_codes(found: Node, path: str) -> None:
    codes = errors(found, path)
    assert set(codes) == {400, 401, 408, 413, 415, 429, 503}
    assert codes[503] == ["deadline_exceeded", "draining"]
    assert codes[401] == ["unauthorized"]
    assert "body_too_large" in codes[413]
    assert ("image_too_large" in codes[413]) is (path == "/classify_image")  # a batch tells it item by item


def test_all_paths_but_the_probes_may_want_a_key(found: Node) -> None:
    assert found["security"] == [{}, {"key": []}]
    assert found["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    free = [path for path, operations in found["paths"].items() if operations.get("get", {}).get("security") == []]
    assert free == ["/livez", "/readyz"]
