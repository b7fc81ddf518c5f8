"""A client that checks each response against the documented interface."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import requests

TIMEOUT_S = 20
JSON = "application/json"


@dataclass
class Caller:
    """HTTP client that checks each response against `/docs.json`."""

    url: str
    session: requests.Session

    @cached_property
    def document(self) -> dict[str, Any]:
        return self.session.get(f"{self.url}/docs.json", timeout=TIMEOUT_S).json()

    def post(self, path: str, body: Any = None, content_type: str | None = None, **more: Any) -> requests.Response:
        headers = {"Content-Type": content_type} if content_type else {}
        response = self.session.post(f"{self.url}{path}", data=body, headers=headers, timeout=TIMEOUT_S, **more)
        check_promise(self.document["paths"][path]["post"], response)
        return response

    def image(self, content: bytes, content_type: str = "image/png") -> requests.Response:
        return self.post("/classify_image", content, content_type)

    def text(self, text: Any) -> requests.Response:
        return self.post("/classify_text", json={"text": text})


def scores(response: requests.Response) -> dict[str, float]:
    """Return the probabilities by label. Fails unless the response is a 200."""
    assert response.status_code == 200, response.text
    return scores_of(response.json())


def scores_of(answer: dict[str, Any]) -> dict[str, float]:
    return {score["label"]: score["probability"] for score in answer["top"]}


def check_promise(operation: dict[str, Any], response: requests.Response) -> None:
    """A 200, or a 4xx in the one shape of errors whose code is documented for this status; each with the headers."""
    assert response.status_code == 200 or 400 <= response.status_code < 500, response.text
    check_headers(response)
    assert str(response.status_code) in operation["responses"], (response.status_code, response.text)
    if response.status_code != 200:
        schema = operation["responses"][str(response.status_code)]["content"][JSON]["schema"]
        assert code_of(response) in schema["properties"]["error"]["properties"]["code"]["enum"], response.text


def check_headers(response: requests.Response) -> None:
    """What every response has; a client that comes too early is told when to try again."""
    assert "Date" in response.headers
    assert response.headers["X-Request-ID"]
    assert ("Retry-After" in response.headers) == (response.status_code in (408, 429, 503)), response.headers


def code_of(response: requests.Response) -> str:
    """Return the code of an error, which must have the one shape."""
    assert response.headers["Content-Type"] == JSON
    content = response.json()
    assert set(content) == {"error"}, content
    assert set(content["error"]) == {"code", "message", "request_id"}, content
    assert all(isinstance(value, str) and value for value in content["error"].values()), content
    assert content["error"]["request_id"] == response.headers["X-Request-ID"]
    assert content["error"]["message"].endswith("."), "a message is a sentence"
    return content["error"]["code"]


def refusal(response: requests.Response) -> tuple[int, str]:
    return response.status_code, code_of(response)
