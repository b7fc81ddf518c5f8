"""Request and response formats of the sides."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Content = bytes | str  # an encoded image, or a text
BOUNDARY = "relu-pipeline-boundary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Form:
    """Format of a side. `write` encodes contents as content type and body; `read` returns the predictions of a body."""

    write: Callable[[Sequence[Content]], tuple[str, bytes]]
    read: Callable[[Any], list[dict[str, Any]]]


def write_raw(contents: Sequence[Content]) -> tuple[str, bytes]:
    (content,) = contents
    return ("image/png", content) if isinstance(content, bytes) else _json({"text": content})


def write_multipart(contents: Sequence[bytes], field: str = "image") -> tuple[str, bytes]:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="a.png"\r\n'
    head += "Content-Type: image/png\r\n\r\n"
    parts = [head.encode() + content + b"\r\n" for content in contents]
    return MULTIPART, b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def write_batch(contents: Sequence[Content]) -> tuple[str, bytes]:
    return write_multipart(contents, "images") if isinstance(contents[0], bytes) else _json({"texts": contents})


def write_mlflow(contents: Sequence[Content]) -> tuple[str, bytes]:
    return _json({"inputs": [_as_text(content) for content in contents]})


def write_v2(contents: Sequence[Content]) -> tuple[str, bytes]:
    data = [_as_text(content) for content in contents]
    return _json({"inputs": [{"name": "content", "shape": [len(data)], "datatype": "BYTES", "data": data}]})


def _json(content: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps(content).encode()


def _as_text(content: Content) -> str:
    return content if isinstance(content, str) else base64.b64encode(content).decode()


FORMS = {
    "raw": Form(write_raw, lambda answer: [answer]),
    "form": Form(write_multipart, lambda answer: [answer]),
    "batch": Form(write_batch, lambda answer: answer["predictions"]),
    "mlflow": Form(write_mlflow, lambda answer: answer["predictions"]),
    "v2": Form(write_v2, lambda answer: [json.loads(data) for data in answer["outputs"][0]["data"]]),
}
