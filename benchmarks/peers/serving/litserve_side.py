"""LitServe. `python litserve_side.py PORT WORKERS QUEUE`; QUEUE is `manager` or `zmq` (its fast_queue)."""

import os
import sys
from typing import Annotated, Any

import litserve
from answer import load_classifier
from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse


async def read_body(request: Request) -> bytes:
    """Return the raw body, or the file of a form, which LitServe would send to another process as a form."""
    if not request.headers["content-type"].startswith("multipart/form-data"):
        return await request.body()
    async with request.form() as form:
        return await form["image"].read()


class Image(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.classifier = load_classifier()

    def decode_request(self, request: Annotated[bytes, Depends(read_body)]) -> bytes:
        return request

    def predict(self, content: bytes | str) -> dict[str, Any]:
        return self.classifier.answer(content)

    def encode_response(self, output: dict[str, Any]) -> Response:
        return JSONResponse(output)


class Text(Image):
    def decode_request(self, request: Request) -> str:
        return request["text"]


if __name__ == "__main__":
    port, workers, queue = sys.argv[1:]
    api = {"image": Image, "text": Text}[os.environ["TASK"]](api_path="/" + os.environ["TASK"])
    server = litserve.LitServer(api, "cpu", workers_per_device=int(workers), fast_queue=queue == "zmq")
    server.run(host="127.0.0.1", port=int(port), log_level="warning", access_log=False, generate_client_file=False)
