"""Ray Serve. `python ray_side.py PORT REPLICAS`"""

import os
import signal
import sys

import ray
from answer import load_classifier
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse


class Classify:
    def __init__(self, task: str) -> None:
        self.task = task
        self.classifier = load_classifier()

    async def __call__(self, request: Request) -> JSONResponse:
        content = await request.body() if self.task == "image" else (await request.json())["text"]
        return JSONResponse(self.classifier.answer(content))


if __name__ == "__main__":
    port, replicas = map(int, sys.argv[1:])
    ray.init(num_cpus=replicas, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    quiet = {"enable_access_log": False, "log_level": "WARNING"}
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=quiet)
    deployment = serve.deployment(Classify, num_replicas=replicas, max_ongoing_requests=100, logging_config=quiet)
    serve.run(deployment.bind(os.environ["TASK"]), route_prefix="/" + os.environ["TASK"])
    signal.sigwait([signal.SIGTERM])
