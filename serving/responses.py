"""JSON responses, and error responses in the service's format or, under `/v2`, that of the Open Inference Protocol."""

from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import RequestError
from serving.metrics import REJECTED_REQUESTS

PROTOCOL_PREFIX = "/v2"


class JsonResponse(Response):
    """JSON response encoded by msgspec."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


def problem(error: RequestError, request_id: str) -> ASGIApp:
    """Return an error response, and count it. Its format depends on the path of the request."""
    REJECTED_REQUESTS.labels(error.code).inc()

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        follows_protocol = f"{scope['path']}/".startswith(f"{PROTOCOL_PREFIX}/")
        content = {"error": str(error)} if follows_protocol else error.as_item(request_id=request_id)
        await JsonResponse(content, error.status, error.headers)(scope, receive, send)

    return respond
