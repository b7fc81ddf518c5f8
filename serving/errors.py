"""Exceptions of the service: ModelError of a model's files, RequestError of one request."""

from collections.abc import Mapping
from typing import Any

RETRY = {"Retry-After": "1"}


class ModelError(Exception):
    """A file of a model is missing, invalid, or does not match the manifest."""


class RequestError(Exception):
    """Error response: an HTTP `status`, a stable `code` for programs, and a message.

    The status is 4xx if the request is the cause, and 5xx if the service is.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}

    def as_item(self, **more: str) -> dict[str, Any]:
        """Return the error as JSON, for a request or one item of a batch."""
        return {"error": {"code": self.code, "message": str(self), **more}}


def overloaded() -> RequestError:
    return RequestError(429, "overloaded", "Service overloaded; retry after 1 second.", RETRY)
