"""What goes wrong in serving: at the start (ModelError) or with one request (RequestError)."""


class ModelError(Exception):
    """A model's file is missing or is not the one that the manifest names; the service does not start."""


class RequestError(Exception):
    """What a caller hears: `status`, a 4xx where it is its mistake, a stable `code` for programs, a message for people.

    `headers` are what HTTP wants beside the status (RFC 9110).
    """

    def __init__(self, status: int, code: str, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers

    def as_item(self) -> dict[str, dict[str, str]]:
        return {"error": {"code": self.code, "message": str(self)}}


def overload() -> RequestError:
    message = "the service has more to do than it can; try again in a second"
    return RequestError(429, "overloaded", message, (b"retry-after", b"1"))
