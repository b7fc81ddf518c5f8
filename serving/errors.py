"""Errors of the service: at the start (ModelError) and of one request (RequestError)."""

from collections.abc import Mapping
from typing import Any

RETRY = {"Retry-After": "1"}


class ModelError(Exception):
    """A model's file is missing, or is not the one that the manifest names."""


class RequestError(Exception):
    """An answer other than 200: `status`, a stable `code` for programs, and a message for people.

    The status is a 4xx where the caller is at fault and a 5xx where the service is.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}

    def as_item(self, **more: str) -> dict[str, Any]:
        """Return the body of an error: of a whole request, or of one item of a batch."""
        return {"error": {"code": self.code, "message": str(self), **more}}


def overloaded() -> RequestError:
    return RequestError(429, "overloaded", "Service overloaded; retry after 1 second.", RETRY)
