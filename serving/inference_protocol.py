"""Open Inference Protocol (KServe, version 2) with Triton's binary tensor data extension: the endpoints under `/v2`.

The predictions are those of `/classify_images` and `/classify_texts`; `tritonclient.http` can request them, and KServe
can run the service as a custom predictor. A model has one input, named after its task, for 1 to `limits.batch_items`
examples:

- `image`: BYTES `[N]` or `[N, 1]`, PNG, JPEG or WebP files, in JSON as base64 strings; or UINT8 `[N, H, W, 3]`, images
  of the size of the network's input.
- `text`: BYTES `[N]` or `[N, 1]`, in UTF-8.

The outputs are `label` BYTES `[N]`, `probability` FP32 `[N]` and `probabilities` FP32 `[N, C]`; the metadata list the
labels in order. The protocol has no errors for single examples: if one cannot be read, the request fails, and the
message has its index. Errors are `{"error": "message"}`, as specified and as tritonclient requires.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.inference_messages import (
    HEAD_LENGTH,
    OUTPUTS,
    OutputName,
    encode_response,
    find_data,
    parse_head,
    prepared_form,
    read_rows,
    split_body,
)
from serving.model import CHUNK_SIZE, Model
from serving.predictor import Predictor, until_given_up
from serving.responses import PROTOCOL_PREFIX as PREFIX
from serving.responses import JsonResponse

SERVER = {"name": "relu-pipeline", "version": "1", "extensions": ["binary_tensor_data"]}
MEDIA_TYPES = ("application/json", "application/octet-stream", "")  # tritonclient sends no content type


def protocol_routes(predictor: Predictor, is_ready: Callable[[], bool]) -> list[Route]:
    """Return the routes of the server and its models; `is_ready` answers the readiness probes."""
    api = ProtocolApi(predictor, is_ready)
    routes = [
        Route(PREFIX, api.describe_server),
        Route(f"{PREFIX}/health/live", api.live),
        Route(f"{PREFIX}/health/ready", api.ready),
    ]
    for task in predictor.stores:
        path = f"{PREFIX}/models/{task}"
        routes += [
            Route(path, partial(api.describe_model, task=task)),
            Route(f"{path}/ready", partial(api.ready, name=task)),
            Route(infer_path(task), partial(api.infer, task=task), methods=["POST"]),
        ]
    return routes


def infer_path(task: str) -> str:
    return f"{PREFIX}/models/{task}/infer"


class ProtocolApi:
    """Endpoints of the Open Inference Protocol."""

    def __init__(self, predictor: Predictor, is_ready: Callable[[], bool]) -> None:
        self.predictor = predictor
        self.is_ready = is_ready

    async def describe_server(self, request: Request) -> Response:
        return JsonResponse(SERVER)

    async def live(self, request: Request) -> Response:
        return JsonResponse({"live": True})

    async def ready(self, request: Request, **model: str) -> Response:
        is_ready = self.is_ready()
        return JsonResponse({**model, "ready": is_ready}, 200 if is_ready else 503)

    async def describe_model(self, request: Request, task: str) -> Response:
        return JsonResponse(describe(self.predictor.stores[task].current))

    async def infer(self, request: Request, task: str) -> Response:
        body, head_length = await request.body(), request.headers.get(HEAD_LENGTH)
        work = lambda given_up: self.respond(task, body, head_length, given_up)  # noqa: E731
        return await self.predictor.batches.run(work, request.receive)

    def respond(self, task: str, body: bytes, head_length: str | None, given_up: Event) -> Response:
        """Return the response to an inference request. Raises RequestError, ClientDisconnect."""
        head, binary = split_body(body, head_length)
        wanted = parse_head(head)
        (tensor,) = wanted.inputs
        self.predictor.check_count(tensor.shape[0] if tensor.shape else 0)
        model = self.predictor.stores[task].current
        rows = read_rows(model, tensor, find_data(tensor, binary), given_up)
        chunks = until_given_up(given_up, range(0, len(rows), CHUNK_SIZE))
        probabilities = [model.probabilities(model.join(rows[start : start + CHUNK_SIZE])) for start in chunks]
        return encode_response(model, wanted, np.concatenate(probabilities))


def describe(model: Model) -> dict[str, Any]:
    """Return the model's metadata; `parameters` are an extension of the protocol."""
    tensor: dict[str, Any] = {"name": model.task, "datatype": "BYTES", "shape": [-1]}
    if model.task == "image":
        content = "PNG, JPEG or WebP files; base64 strings in JSON"
        tensor["parameters"] = {"content": content, "alternative": prepared_form(model)}
    outputs: dict[OutputName, dict[str, Any]] = {
        name: {"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in OUTPUTS.items()
    }
    outputs["probabilities"] |= {"shape": [-1, len(model.labels)], "parameters": {"labels": model.labels}}
    return {
        "name": model.task,
        "versions": [model.version.version],
        "platform": "onnxruntime_onnx",
        "inputs": [tensor],
        "outputs": list(outputs.values()),
    }
