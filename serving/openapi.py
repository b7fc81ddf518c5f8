"""The OpenAPI document of the service; BentoML's own knows neither raw bodies nor our errors.

Its schemas are those of `schemas.py`, its limits those of configs/serving.yaml.
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
NO_KEY = {(401, "unauthorized"): "The service has a key, and the request does not bear it."}
ANY_POST = NO_KEY | {
    (408, "request_timeout"): "The body was not complete in time.",
    (413, "body_too_large"): "The body is too large, whatever its header claims.",
    (415, "unsupported_media_type"): "The content type is none of those above, or the body is compressed.",
    (429, "overloaded"): "More requests wait than can be answered soon; try again later.",
    (503, "deadline_exceeded"): "The service did not answer in time.",
    (503, "draining"): "The service is shutting down.",
}
ANY_IMAGE = {
    (400, "empty_image"): "The image has no bytes.",
    (400, "invalid_image"): "The bytes are not a whole PNG, JPEG or WebP image with 8 bits a channel.",
    (413, "image_too_large"): "The image has too many pixels.",
}
ANY_FORM = {
    (400, "invalid_multipart"): "The form cannot be read, or has too many parts.",
    (400, "invalid_request"): "The form has no file, or in another field.",
}
ANY_JSON = {
    (400, "invalid_json"): "The body is not JSON in UTF-8.",
    (400, "invalid_request"): "The body has another form than the schema's.",
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
    """Return OpenAPI 3.1 for the tasks whose labels are given."""
    operations = {task: OPERATIONS[task](limits) for task in labels}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "relu-pipeline",
            "version": "1",
            "description": f"Classify {' and '.join(NOUNS[task] for task in labels)}. A wrong path is answered with "
            "404 `not_found`, a wrong method with 405 `method_not_allowed`; every error has the shape of those below. "
            "The header `X-Request-ID` is taken from the request or made, and stands in each answer. The same models "
            "answer under `/v2` as the Open Inference Protocol specifies, with its form of errors.",
        },
        "security": [{}, {"key": []}],
        "tags": [
            *({"name": task, "description": ", ".join(names)} for task, names in labels.items()),
            {"name": "service", "description": "What it is, and how it is"},
        ],
        "paths": {path: node for found in operations.values() for path, node in found.items()} | _readings(labels),
        "components": {
            "schemas": {
                name: schema
                for task, names in labels.items()
                for name, schema in _schemas(task.capitalize(), names).items()
            },
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "Where the service has RELU_API_KEY set."}
            },
        },
    }


def _classify_image(limits: LimitSettings) -> Node:
    image = f"A PNG, JPEG or WebP image of at most {limits.image_pixels:,} pixels"
    return {
        "operationId": "classify_image",
        "tags": ["image"],
        "summary": "The class of an image",
        "description": f"{image}, in a request of at most {_size(limits.image_bytes)}: the multipart field "
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


def _classify_images(limits: LimitSettings) -> Node:
    images = {"type": "array", "items": FILE, "minItems": 1, "maxItems": limits.batch_items}
    return {
        "operationId": "classify_images",
        "tags": ["image"],
        "summary": "The classes of several images",
        "description": f"1 to {limits.batch_items} files of the multipart field `images`, in a request of at most "
        f"{_size(limits.image_batch_bytes)}. An image that cannot be read has its own `error` in the answer.",
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
        "summary": "The topic of a text",
        "description": f"In a request of at most {_size(limits.text_bytes)}.",
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
        "summary": "The topics of several texts",
        "description": f"1 to {limits.batch_items} texts of at most {_size(limits.text_bytes)} each, in a request of "
        f"at most {_size(limits.text_batch_bytes)}. A text that cannot be read has its own `error` in the answer.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _object(texts=texts), "example": {"texts": list(TEXTS)}}},
        },
        "responses": _responses("TextPredictions", ANY_POST | ANY_JSON | ANY_BATCH),
    }


def _text(limits: LimitSettings) -> Node:
    """With something that is no space in it. The limit is of bytes: no text of more characters is within it."""
    return {"type": "string", "minLength": 1, "maxLength": limits.text_bytes, "pattern": r"\S"}


def _size(count: int) -> str:
    """Exact, in the largest unit that allows it."""
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
        "/info": _reading("info", "Manifests, versions and drift", _json(info), NO_KEY),
        "/samples": _reading("samples", "Images and texts to try", _json(_object(**samples)), NO_KEY),
        "/metrics": _reading("metrics", "Metrics for Prometheus", _plain(), NO_KEY),
        "/livez": _reading("livez", "Is the worker alive?", _plain(), {}),
        "/readyz": _ready(),
    }


def _ready() -> Node:
    """Of BentoML: its answers are plain text."""
    operation = _reading("readyz", "Does the worker take requests?", _plain(), {})
    operation["get"]["responses"]["503"] = {"description": "The service is shutting down.", **_plain()}
    return operation


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
