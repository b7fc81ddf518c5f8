"""Whatever is sent, the response is right or an error of the one shape, and no worker dies."""

import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.servers import Server
from tests.serving.safety.answers import JSON, TIMEOUT_S, Caller
from tests.serving.safety.pictures import encode, picture, translucent

pytestmark = pytest.mark.slow

CASES = int(os.environ.get("RELU_FUZZ_CASES", "300"))  # of each kind; `make bench` has 5,000
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FORM = "multipart/form-data; boundary=frontier"
BATCH = {"texts": ["The striker wins the cup final", "Überfall 🎉", "\\ud83c\\udf89", ""]}


def part(name: str, content: bytes) -> bytes:
    head = (
        f'--frontier\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\nContent-Type: image/png\r\n'
    )
    return head.encode() + b"\r\n" + content + b"\r\n"


PNG, JPEG, WEBP = (encode(picture(), form) for form in ("PNG", "JPEG", "WEBP"))
UPLOADS = {
    "png": ("/classify_image", "image/png", PNG),
    "palette-png": ("/classify_image", "image/png", encode(picture().quantize(16), transparency=3)),
    "jpeg": ("/classify_image", "image/jpeg", JPEG),
    "progressive-jpeg": ("/classify_image", "image/jpeg", encode(picture(), "JPEG", progressive=True)),
    "webp": ("/classify_image", "image/webp", WEBP),
    "alpha-webp": ("/classify_image", "image/webp", encode(translucent(), "WEBP")),
    "form": ("/classify_image", FORM, part("image", PNG) + b"--frontier--\r\n"),
    "form-of-many": ("/classify_images", FORM, part("images", PNG) + part("images", JPEG) + b"--frontier--\r\n"),
    "json": ("/classify_text", JSON, json.dumps({"text": "The cup final"}).encode()),
    "json-list": ("/classify_texts", JSON, json.dumps(BATCH).encode()),
}


def flip_bits(rng: np.random.Generator, content: bytes) -> bytes:
    damaged = np.frombuffer(content, dtype=np.uint8).copy()
    places = rng.integers(len(damaged), size=rng.integers(1, 9))
    damaged[places] ^= rng.integers(1, 256, size=len(places), dtype=np.uint8)
    return damaged.tobytes()


def cut_out(rng: np.random.Generator, content: bytes) -> bytes:
    start, end = np.sort(rng.integers(len(content), size=2))
    return content[:start] + content[end:]


def repeat(rng: np.random.Generator, content: bytes) -> bytes:
    start, end = np.sort(rng.integers(len(content), size=2))
    return content[:end] + content[start:]


def keep(rng: np.random.Generator, content: bytes) -> bytes:
    return content


DAMAGES: list[Callable[[np.random.Generator, bytes], bytes]] = [keep, keep, keep, cut_out, repeat]


@pytest.mark.parametrize("kind", UPLOADS)
def test_a_damaged_upload_is_answered_or_refused(server: Server, caller: Caller, kind: str) -> None:
    path, content_type, content = UPLOADS[kind]
    workers = server.workers()
    statuses: Counter[int] = Counter()
    for seed in range(CASES // len(UPLOADS)):
        rng = np.random.default_rng(seed)
        damaged = flip_bits(rng, DAMAGES[seed % len(DAMAGES)](rng, content))
        statuses[caller.post(path, damaged, content_type).status_code] += 1
    assert statuses[400], "no damage was seen"
    assert server.workers() == workers


def without_patterns(document: dict[str, Any]) -> dict[str, Any]:
    """Hypothesis generates texts that match the document's pattern fifty times slower."""

    def keep(node: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in node.items() if name != "pattern"}

    return json.loads(json.dumps(document), object_hook=keep)


def modes(operation: APIOperation) -> list[GenerationMode]:
    """Return the modes of requests: without a body or parameters none can be wrong."""
    return [GenerationMode.POSITIVE, GenerationMode.NEGATIVE] if operation.body else [GenerationMode.POSITIVE]


def test_generated_requests_are_answered_as_the_document_says(server: Server, caller: Caller) -> None:
    """schemathesis generates valid and invalid requests from `/docs.json`."""
    workers = server.workers()
    schema = schemathesis.openapi.from_dict(without_patterns(caller.document))
    operations = [result.ok() for result in schema.get_all_operations()]
    asked: Counter[tuple[str, int]] = Counter()

    @given(st.one_of(operation.as_strategy(mode) for operation in operations for mode in modes(operation)))
    @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: Case) -> None:
        response = case.call(base_url=caller.url, session=caller.session, timeout=TIMEOUT_S)
        case.validate_response(response, checks=CHECKS)
        asked[case.path, response.status_code] += 1

    ask()
    assert asked.total() >= CASES
    for path in caller.document["paths"]:
        assert asked[path, 200], f"{path} got no valid request"
    assert server.workers() == workers
    assert requests.get(f"{server.url}/readyz", timeout=TIMEOUT_S).ok
