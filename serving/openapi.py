"""What the service takes and answers, as an OpenAPI document; BentoML's own knows neither raw bodies nor our errors.

Its schemas are those of `schemas.py`; its figures are those of configs/serving.yaml.
"""

from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from serving.schemas import Prediction, Predictions, Problem
from serving.settings import Settings

Node = dict[str, Any]
Refusals = dict[tuple[int, str], str]

IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp")
FILE: Node = {"type": "string", "format": "binary"}
TEXTS = ("Oil prices fall as the central bank raises interest rates", "The striker wins the cup final in extra time")

# When which status and code.
NO_KEY = {(401, "unauthorized"): "The service has a key, and the request does not bear it."}
DRAINING = {(503, "draining"): "The service answers its last requests, and no new ones."}
ANY_POST = NO_KEY | {
    (400, "incomplete_body"): "The connection closed before the body was complete.",
    (408, "deadline_exceeded"): "The request was not complete, or not answered, in time.",
    (413, "body_too_large"): "The body is too large, whatever its header claims.",
    (415, "unsupported_media_type"): "The content type is none of those above.",
    (429, "overloaded"): "More requests wait than can be answered soon; try again later.",
}
ANY_IMAGE = {
    (400, "empty_image"): "The image has no bytes.",
    (400, "invalid_image"): "The bytes are not a whole PNG, JPEG or WebP image with 8 bits a channel.",
    (413, "image_too_large"): "The image has too many pixels.",
}
ANY_FORM = {
    (400, "invalid_multipart"): "The multipart body cannot be read.",
    (400, "invalid_request"): "The body has another form than the schema's.",
    (413, "too_many_parts"): "The multipart body has too many parts.",
}
ANY_JSON = {
    (400, "invalid_json"): "The body is not JSON in UTF-8.",
    (400, "invalid_request"): "The body has another form than the schema's.",
}
ANY_TEXT = {
    (400, "empty_text"): "The text has no words.",
    (400, "invalid_text"): "The text is not a string of valid Unicode.",
}
ANY_BATCH = {
    (400, "wrong_item_count"): "The request has no item.",
    (413, "wrong_item_count"): "The request has too many items.",
}


def document(labels_image: Sequence[str], labels_text: Sequence[str], settings: Settings) -> Node:
    """OpenAPI 3.1, for `/docs.json`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "relu-pipeline",
            "version": "1",
            "description": "Classify images and texts. A wrong path is answered with 404 `not_found`, a wrong method "
            "with 405 `method_not_allowed`, what is no HTTP with 400 `invalid_http`; every error has the shape of "
            "those below.",
        },
        "security": [{}, {"key": []}],
        "tags": [
            {"name": "image", "description": ", ".join(labels_image)},
            {"name": "text", "description": ", ".join(labels_text)},
            {"name": "service", "description": "What it is, and how it is"},
        ],
        "paths": {
            "/classify_image": {"post": _classify_image(settings)},
            "/classify_images": {"post": _classify_images(settings)},
            "/classify_text": {"post": _classify_text(settings)},
            "/classify_texts": {"post": _classify_texts(settings)},
            **_readings(),
        },
        "components": {
            "schemas": {**_schemas("Image", labels_image), **_schemas("Text", labels_text)},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "Where the service has RELU_API_KEY set."}
            },
        },
    }


def _classify_image(settings: Settings) -> Node:
    image = f"A PNG, JPEG or WebP image of at most {settings.max_image_pixels:,} pixels"
    return {
        "operationId": "classify_image",
        "tags": ["image"],
        "summary": "The class of an image",
        "description": f"{image}, in a request of at most {_size(settings.max_image_bytes)}: the multipart field "
        "`image`, or the raw bytes under any `image/*`. Of an animation the first frame counts.",
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": _object(image=FILE),
                    "encoding": {"image": {"contentType": ", ".join(IMAGE_TYPES)}},
                },
                **{media_type: {"schema": FILE} for media_type in IMAGE_TYPES},
            },
        },
        "responses": _responses("ImagePrediction", ANY_POST | ANY_IMAGE | ANY_FORM),
    }


def _classify_images(settings: Settings) -> Node:
    images = {"type": "array", "items": FILE, "minItems": 1, "maxItems": settings.max_batch_items}
    return {
        "operationId": "classify_images",
        "tags": ["image"],
        "summary": "The classes of several images",
        "description": f"1 to {settings.max_batch_items} files of the multipart field `images`, in a request of at most"
        f" {_size(settings.max_batch_bytes)}. An image that cannot be read has its own `error` in the answer.",
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": _object(images=images),
                    "encoding": {"images": {"contentType": ", ".join(IMAGE_TYPES)}},
                }
            },
        },
        "responses": _responses("ImagePredictions", ANY_POST | ANY_FORM | ANY_BATCH),
    }


def _classify_text(settings: Settings) -> Node:
    return {
        "operationId": "classify_text",
        "tags": ["text"],
        "summary": "The topic of a text",
        "description": f"In a request of at most {_size(settings.max_text_bytes)}.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _object(text=_text(settings)),
                    "examples": {text: {"value": {"text": text}} for text in TEXTS},
                }
            },
        },
        "responses": _responses("TextPrediction", ANY_POST | ANY_JSON | ANY_TEXT),
    }


def _classify_texts(settings: Settings) -> Node:
    texts = {"type": "array", "items": _text(settings), "minItems": 1, "maxItems": settings.max_batch_items}
    return {
        "operationId": "classify_texts",
        "tags": ["text"],
        "summary": "The topics of several texts",
        "description": f"1 to {settings.max_batch_items} texts of at most {_size(settings.max_text_bytes)} each, in a "
        f"request of at most {_size(settings.max_batch_bytes)}. A text that cannot be read has its own `error` in the "
        "answer.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _object(texts=texts), "example": {"texts": list(TEXTS)}}},
        },
        "responses": _responses("TextPredictions", ANY_POST | ANY_JSON | ANY_BATCH),
    }


def _text(settings: Settings) -> Node:
    """With something that is no space in it. The limit is of bytes: no text of more characters is within it."""
    return {"type": "string", "minLength": 1, "maxLength": settings.max_text_bytes, "pattern": r"\S"}


def _size(count: int) -> str:
    """Exact, in the largest unit that allows it."""
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count % size == 0:
            return f"{count // size} {unit}"
    return f"{count} bytes"


def _readings() -> Node:
    string = {"type": "string"}
    image = _object(label=string, image={"type": "string", "contentEncoding": "base64"})
    text = _object(label=string, text=string)
    samples = _object(image={"type": "array", "items": image}, text={"type": "array", "items": text})
    models = {"type": "object", "additionalProperties": {"type": "object"}}  # by task
    info = {"type": "object", "required": ["models", "drift"], "properties": {"models": models, "drift": models}}
    return {
        "/info": _reading("info", "Manifests, versions and drift", _json(info), NO_KEY),
        "/samples": _reading("samples", "Images and texts to try", _json(samples), NO_KEY),
        "/metrics": _reading("metrics", "Figures for Prometheus", _plain(), NO_KEY),
        "/livez": _reading("livez", "Does it live?", _plain(), {}),
        "/readyz": _reading("readyz", "Does it take requests?", _json(_object(status=string)), DRAINING),
    }


def _reading(name: str, summary: str, answer: Node, refusals: Refusals) -> Node:
    responses = {"200": {"description": "The answer.", **answer}, **_refused(refusals)}
    operation = {"operationId": name, "tags": ["service"], "summary": summary, "responses": responses}
    return {"get": operation if refusals == NO_KEY else operation | {"security": []}}


def _responses(schema: str, refusals: Refusals) -> Node:
    answer = _json({"$ref": f"#/components/schemas/{schema}"})
    return {"200": {"description": "The answer.", **answer}, **_refused(refusals)}


def _refused(refusals: Refusals) -> Node:
    """By status, in one shape, with the codes that it may have."""
    responses = {}
    for status in sorted({status for status, _ in refusals}):
        codes = {code: when for (of, code), when in refusals.items() if of == status}
        schema = _object(error=Problem.model_json_schema())
        schema["properties"]["error"]["properties"]["code"]["enum"] = list(codes)
        lines = "\n".join(f"- `{code}`: {when}" for code, when in codes.items())
        responses[str(status)] = {"description": lines, **_json(schema)}
    return responses


def _schemas(task: str, labels: Sequence[str]) -> Node:
    """Of the answers of a task; the names of its classes are the only labels."""
    _, found = models_json_schema(
        [(Prediction, "serialization"), (Predictions, "serialization")],
        ref_template=f"#/components/schemas/{task}{{model}}",
    )
    for name, schema in found["$defs"].items():
        properties = {field: _present(node) for field, node in schema["properties"].items()}
        if "label" in properties:
            properties["label"] = {"type": "string", "enum": labels}
        schema |= {"title": f"{task}{name}", "properties": properties}
    return {f"{task}{name}": schema for name, schema in found["$defs"].items()}


def _present(node: Node) -> Node:
    """What may be None is left out of an answer, never null."""
    return node["anyOf"][0] if "anyOf" in node else node


def _object(**properties: Node) -> Node:
    return {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}


def _json(schema: Node) -> Node:
    return {"content": {"application/json": {"schema": schema}}}


def _plain() -> Node:
    return {"content": {"text/plain": {"schema": {"type": "string"}}}}
