"""The OpenAPI document of the service. BentoML's own has neither raw bodies nor the service's errors.

The schemas are those of `schemas.py`, the limits those of configs/serving.yaml.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from serving.schemas import Prediction, Predictions, Problem
from serving.settings import LimitSettings

Node = dict[str, Any]
Refusals = dict[tuple[int, str], str]

IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp")
FILE: Node = {"type": "string", "format": "binary"}
TEXTS = ("Oil prices fall as the central bank raises interest rates", "The striker wins the cup final in extra time")

# What each status and code means.
NO_KEY = {(401, "unauthorized"): "The service requires an API key, and the request has none or a wrong one."}
ANY_POST = NO_KEY | {
    (408, "request_timeout"): "The body was not complete before the deadline.",
    (413, "body_too_large"): "The body is too large.",
    (415, "unsupported_media_type"): "The content type is not supported, or the body is compressed.",
    (429, "overloaded"): "The service is overloaded; retry after the time in `Retry-After`.",
    (503, "deadline_exceeded"): "The prediction was not ready before the deadline.",
    (503, "draining"): "The service is shutting down.",
}
ANY_IMAGE = {
    (400, "empty_image"): "The image is empty.",
    (400, "invalid_image"): "The image is not a complete PNG, JPEG or WebP file with 8 bits per channel.",
    (413, "image_too_large"): "The image has too many pixels.",
}
ANY_FORM = {
    (400, "invalid_multipart"): "The form cannot be parsed, or has too many parts.",
    (400, "invalid_request"): "The form has no file in the required field.",
}
ANY_JSON = {
    (400, "invalid_json"): "The body is not valid JSON in UTF-8.",
    (400, "invalid_request"): "The body does not match the schema.",
}
ANY_TEXT = {
    (400, "empty_text"): "The text has no words.",
    (400, "invalid_text"): "The text is not valid Unicode.",
}
ANY_BATCH = {
    (400, "wrong_item_count"): "The request has no item.",
    (413, "wrong_item_count"): "The request has too many items.",
}


def document(labels: Mapping[str, Sequence[str]], limits: LimitSettings) -> Node:
    """Return an OpenAPI 3.1 document for the tasks in `labels`."""
    operations = {task: OPERATIONS[task](limits) for task in labels}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "relu-pipeline",
            "version": "1",
            "description": f"Classification of {' and '.join(NOUNS[task] for task in labels)}. Errors have the schema "
            "below; an unknown path is 404 `not_found`, an unsupported method 405 `method_not_allowed`. Every response "
            "has the header `X-Request-ID`, taken from the request or generated. The endpoints under `/v2` implement "
            "the Open Inference Protocol, with its own error format.",
        },
        "security": [{}, {"key": []}],
        "tags": [
            *({"name": task, "description": ", ".join(names)} for task, names in labels.items()),
            {"name": "service", "description": "Model information, metrics and probes"},
        ],
        "paths": {path: node for found in operations.values() for path, node in found.items()} | _readings(labels),
        "components": {
            "schemas": {
                name: schema
                for task, names in labels.items()
                for name, schema in _schemas(task.capitalize(), names).items()
            },
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "Required if RELU_API_KEY is set."}
            },
        },
    }


def _classify_image(limits: LimitSettings) -> Node:
    image = f"A PNG, JPEG or WebP image of at most {limits.image_pixels:,} pixels"
    return {
        "operationId": "classify_image",
        "tags": ["image"],
        "summary": "Classify an image",
        "description": f"{image}, as the multipart field `image` or as raw bytes with a content type `image/*`. The "
        f"request has at most {_size(limits.image_bytes)}. Of an animation the first frame is used.",
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


def _classify_images(limits: LimitSettings) -> Node:
    images = {"type": "array", "items": FILE, "minItems": 1, "maxItems": limits.batch_items}
    return {
        "operationId": "classify_images",
        "tags": ["image"],
        "summary": "Classify several images",
        "description": f"1 to {limits.batch_items} files in the multipart field `images`. The request has at most "
        f"{_size(limits.image_batch_bytes)}. An image that cannot be read has an `error` instead of a prediction.",
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


def _classify_text(limits: LimitSettings) -> Node:
    return {
        "operationId": "classify_text",
        "tags": ["text"],
        "summary": "Classify a text",
        "description": f"The request has at most {_size(limits.text_bytes)}.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _object(text=_text(limits)),
                    "examples": {text: {"value": {"text": text}} for text in TEXTS},
                }
            },
        },
        "responses": _responses("TextPrediction", ANY_POST | ANY_JSON | ANY_TEXT),
    }


def _classify_texts(limits: LimitSettings) -> Node:
    texts = {"type": "array", "items": _text(limits), "minItems": 1, "maxItems": limits.batch_items}
    return {
        "operationId": "classify_texts",
        "tags": ["text"],
        "summary": "Classify several texts",
        "description": f"1 to {limits.batch_items} texts of at most {_size(limits.text_bytes)} each. The request has "
        f"at most {_size(limits.text_batch_bytes)}. A text that cannot be read has an `error` instead of a prediction.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _object(texts=texts), "example": {"texts": list(TEXTS)}}},
        },
        "responses": _responses("TextPredictions", ANY_POST | ANY_JSON | ANY_BATCH),
    }


def _text(limits: LimitSettings) -> Node:
    """Return the schema of a text that is not blank. Its limit in bytes is an upper bound of its characters."""
    return {"type": "string", "minLength": 1, "maxLength": limits.text_bytes, "pattern": r"\S"}


def _size(count: int) -> str:
    """Return the exact size in the largest possible unit."""
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count % size == 0:
            return f"{count // size} {unit}"
    return f"{count} bytes"


NOUNS = {"image": "images", "text": "texts"}
OPERATIONS: dict[str, Callable[[LimitSettings], Node]] = {
    "image": lambda limits: {
        "/classify_image": {"post": _classify_image(limits)},
        "/classify_images": {"post": _classify_images(limits)},
    },
    "text": lambda limits: {
        "/classify_text": {"post": _classify_text(limits)},
        "/classify_texts": {"post": _classify_texts(limits)},
    },
}


def _readings(tasks: Iterable[str]) -> Node:
    string = {"type": "string"}
    examples = {"image": {"type": "string", "contentEncoding": "base64"}, "text": string}
    samples = {task: {"type": "array", "items": _object(label=string, **{task: examples[task]})} for task in tasks}
    models = {"type": "object", "additionalProperties": {"type": "object"}}  # by task
    info = {"type": "object", "required": ["models", "drift"], "properties": {"models": models, "drift": models}}
    return {
        "/info": _reading("info", "Models, versions and drift", _json(info), NO_KEY),
        "/samples": _reading("samples", "Sample images and texts", _json(_object(**samples)), NO_KEY),
        "/metrics": _reading("metrics", "Prometheus metrics", _plain(), NO_KEY),
        "/livez": _reading("livez", "Liveness probe", _plain(), {}),
        "/readyz": _ready(),
    }


def _ready() -> Node:
    """Return the readiness probe, which BentoML implements as plain text."""
    operation = _reading("readyz", "Readiness probe", _plain(), {})
    operation["get"]["responses"]["503"] = {"description": "The service is shutting down.", **_plain()}
    return operation


def _reading(name: str, summary: str, answer: Node, refusals: Refusals) -> Node:
    responses = {"200": {"description": "Success.", **answer}, **_refused(refusals)}
    operation = {"operationId": name, "tags": ["service"], "summary": summary, "responses": responses}
    return {"get": operation if refusals == NO_KEY else operation | {"security": []}}


def _responses(schema: str, refusals: Refusals) -> Node:
    answer = _json({"$ref": f"#/components/schemas/{schema}"})
    return {"200": {"description": "The prediction.", **answer}, **_refused(refusals)}


def _refused(refusals: Refusals) -> Node:
    """Return the error responses by status, with the error codes of each."""
    responses = {}
    for status in sorted({status for status, _ in refusals}):
        codes = {code: when for (of, code), when in refusals.items() if of == status}
        schema = _object(error=Problem.model_json_schema())
        schema["properties"]["error"]["properties"]["code"]["enum"] = list(codes)
        lines = "\n".join(f"- `{code}`: {when}" for code, when in codes.items())
        responses[str(status)] = {"description": lines, **_json(schema)}
    return responses


def _schemas(task: str, labels: Sequence[str]) -> Node:
    """Return the schemas of a task's predictions; the labels are an enum of its classes."""
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
    """Return the schema without null: optional fields are omitted from a response."""
    return node["anyOf"][0] if "anyOf" in node else node


def _object(**properties: Node) -> Node:
    return {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}


def _json(schema: Node) -> Node:
    return {"content": {"application/json": {"schema": schema}}}


def _plain() -> Node:
    return {"content": {"text/plain": {"schema": {"type": "string"}}}}
