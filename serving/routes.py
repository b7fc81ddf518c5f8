"""The HTTP side of the four endpoints and `/info`, as ASGI middleware in front of BentoML's own routes.

BentoML's parser answers 500 to a broken multipart body, picks decoders by the caller's content type and knows no body
limit. Here every mistake of a caller is a 4xx of one shape: `{"error": {"code", "message"}}`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from anyio import to_thread
from pydantic import BaseModel
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import RequestError
from serving.inputs import parse_json_field
from serving.predictor import Predictor
from serving.schemas import Problem

Handler = Callable[[Request], Awaitable[Response]]


class Routes:
    def __init__(self, app: ASGIApp, predictor: Predictor, info: Callable[[], dict[str, Any]]) -> None:
        self.app = app
        self.predictor = predictor
        self.limits = predictor.limits
        self.info = info
        self.handlers: dict[str, tuple[str, Handler]] = {
            "/classify_image": ("POST", self.classify_image),
            "/classify_images": ("POST", self.classify_images),
            "/classify_text": ("POST", self.classify_text),
            "/classify_texts": ("POST", self.classify_texts),
            "/info": ("GET", self.show_info),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self.handlers:
            await self.app(scope, receive, send)
            return
        method, handler = self.handlers[scope["path"]]
        response = await _answer(Request(scope, receive), method, handler)
        await response(scope, receive, send)

    async def classify_image(self, request: Request) -> Response:
        media_type = _media_type(request)
        if media_type == "multipart/form-data":
            form = await _read_form(request, self.limits.max_image_bytes)
            content = await _only_file(form, "image")
        elif media_type.startswith("image/") or media_type == "application/octet-stream":
            content = await _read_body(request, self.limits.max_image_bytes)
        else:
            raise _unsupported(media_type, "multipart/form-data with the field image, or the raw bytes as image/*")
        return _json(await to_thread.run_sync(self.predictor.classify_image, content))

    async def classify_images(self, request: Request) -> Response:
        if (media_type := _media_type(request)) != "multipart/form-data":
            raise _unsupported(media_type, "multipart/form-data with a field images for each file")
        form = await _read_form(request, self.limits.max_batch_bytes)
        contents = [await file.read() for _, file in form.multi_items() if isinstance(file, UploadFile)]
        return _json(await to_thread.run_sync(self.predictor.classify_images, contents))

    async def classify_text(self, request: Request) -> Response:
        body = await _read_json(request, self.limits.max_text_bytes)
        text = parse_json_field(body, "text")
        return _json(await to_thread.run_sync(self.predictor.classify_text, text))

    async def classify_texts(self, request: Request) -> Response:
        body = await _read_json(request, self.limits.max_batch_bytes)
        texts = parse_json_field(body, "texts")
        return _json(await to_thread.run_sync(self.predictor.classify_texts, texts))

    async def show_info(self, request: Request) -> Response:
        return JSONResponse(self.info())


async def _answer(request: Request, method: str, handler: Handler) -> Response:
    try:
        if request.method != method:
            raise RequestError(405, "method_not_allowed", f"{request.url.path} takes {method}, not {request.method}")
        return await handler(request)
    except RequestError as error:
        return _problem(error)
    except ClientDisconnect:
        return _problem(RequestError(400, "incomplete_body", "the connection closed before the body was complete"))


def _problem(error: RequestError) -> Response:
    content = Problem(code=error.code, message=str(error)).model_dump()
    return JSONResponse({"error": content}, status_code=error.status)


def _json(content: BaseModel) -> Response:
    return Response(content.model_dump_json(exclude_none=True), media_type="application/json")


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def _unsupported(media_type: str, accepted: str) -> RequestError:
    return RequestError(415, "unsupported_media_type", f"content type {media_type or '(none)'}; send {accepted}")


async def _read_json(request: Request, max_bytes: int) -> bytes:
    if (media_type := _media_type(request)) != "application/json":
        raise _unsupported(media_type, "application/json")
    return await _read_body(request, max_bytes)


async def _read_body(request: Request, max_bytes: int) -> bytes:
    return b"".join([chunk async for chunk in _bounded(request, max_bytes)])


async def _bounded(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """The body's chunks. A body that grows beyond the limit is refused whatever its header claimed."""
    problem = RequestError(413, "body_too_large", f"the body is larger than {max_bytes} bytes")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise problem
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise problem
        yield chunk


async def _read_form(request: Request, max_bytes: int) -> FormData:
    parser = MultiPartParser(Headers(scope=request.scope), _bounded(request, max_bytes))  # type: ignore[arg-type]
    try:
        return await parser.parse()
    except (MultiPartException, ValueError, KeyError) as error:
        reason = getattr(error, "message", "no boundary")
        raise RequestError(400, "invalid_multipart", f"the multipart body cannot be read: {reason}") from error


async def _only_file(form: FormData, field: str) -> bytes:
    files = form.getlist(field)
    if len(files) != 1 or not isinstance(files[0], UploadFile):
        raise RequestError(400, "invalid_request", f'send one file in the multipart field "{field}"')
    return await files[0].read()
