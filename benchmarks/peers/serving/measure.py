"""Measurement of one side and task: start the server, check its predictions, run the load test."""

import base64
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.serving import wrk
from benchmarks.peers.serving.answer import Classifier
from benchmarks.peers.serving.forms import FORMS, Content, Form
from benchmarks.peers.serving.launch import Server, ServerError, serving
from benchmarks.peers.serving.sides import Side
from relu_pipeline.config import TASK_NAMES, TaskName

SINGLES = 64  # distinct contents, sent in turn
BATCH = 256  # contents of a batch request
BATCHES = 4  # distinct batch requests
BATCH_TIMES = 3  # times as long, because wrk does not count unfinished requests, and batches are long
CONNECTIONS = (1, 8, 32)
BATCH_CONNECTIONS = (2, 4)
WARM_UP_S = 1


@dataclass(frozen=True)
class Load:
    """Load of a kind over a number of connections. `kind` is a task, `image_form`, or a task and `_batch`."""

    kind: str
    connections: int

    @property
    def name(self) -> str:
        return f"{self.kind} x{self.connections}"

    @property
    def is_batch(self) -> bool:
        return self.kind.endswith("_batch")

    def form(self, side: Side) -> Form:
        _, _, form = self.kind.partition("_")
        return FORMS[form or side.form]

    def groups(self, contents: Sequence[Any]) -> list[list[Any]]:
        """Return the `contents` of each request."""
        if not self.is_batch:
            return [[content] for content in contents[:SINGLES]]
        starts = range(0, len(contents), max(1, len(contents) // BATCHES))
        return [[contents[(start + step) % len(contents)] for step in range(BATCH)] for start in starts]


LOADS: dict[TaskName, list[Load]] = {
    "image": [
        *(Load("image", connections) for connections in CONNECTIONS),
        Load("image_form", 8),
        *(Load("image_batch", connections) for connections in BATCH_CONNECTIONS),
    ],
    "text": [
        *(Load("text", connections) for connections in CONNECTIONS),
        *(Load("text_batch", connections) for connections in BATCH_CONNECTIONS),
    ],
}


@dataclass(frozen=True)
class Material:
    """Contents of each task, and `expected`, the labels and probabilities of the graph in `models`."""

    models: Path
    contents: Mapping[TaskName, Sequence[Content]]
    expected: Mapping[TaskName, Sequence[tuple[str, float]]]


def gather(models: Path, contents: Mapping[TaskName, Sequence[Content]]) -> Material:
    expected = {}
    for task in TASK_NAMES:
        classifier = Classifier(models / task)
        answers = [classifier.answer(content) for content in contents[task]]
        expected[task] = [(answer["label"], answer["probability"]) for answer in answers]
    return Material(models, contents, expected)


def measure(side: Side, task: TaskName, material: Material, seconds: int) -> dict[str, Any]:
    """Return `start_s`, `loads` by name, and the `memory` after them. Raises ServerError."""
    loads = [load for load in LOADS[task] if load.kind in side.paths]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        with serving(side, task, material.models, scratch) as server:
            try:
                found = {load.name: send(load, side, task, server, material, seconds, scratch) for load in loads}
            except ServerError as error:
                raise ServerError(f"{error}; the end of its log:\n{server.log_tail()}") from error
            return {"start_s": server.start_s, "loads": found, "memory": server.memory()}


def send(
    load: Load, side: Side, task: TaskName, server: Server, material: Material, seconds: int, scratch: Path
) -> dict[str, Any]:
    url, form = server.url + side.paths[load.kind], load.form(side)
    content_type, bodies = requests(load, form, material.contents[task])
    for body, expected in zip(bodies, load.groups(material.expected[task]), strict=True):
        check(form.read(json.loads(ask(url, content_type, body))), expected, side.tolerance)
    folder = scratch / load.name.replace(" ", "_")
    wrk.write_bodies(folder, bodies)
    wrk.load(url, content_type, folder, load.connections, WARM_UP_S)
    seconds *= BATCH_TIMES if load.is_batch else 1
    before_s = server.cpu_s()
    found = wrk.load(url, content_type, folder, load.connections, seconds)
    if not found["requests_per_s"]:
        raise ServerError(f"{url}: no response to {load.name} in {seconds} s")
    return found | {"cpu_ms": 1000 * (server.cpu_s() - before_s) / (found["requests_per_s"] * seconds)}


def requests(load: Load, form: Form, contents: Sequence[Content]) -> tuple[str, list[bytes]]:
    """Return the content type and the bodies."""
    written = [form.write(group) for group in load.groups(contents)]
    return written[0][0], [body for _, body in written]


def ask(url: str, content_type: str, body: bytes) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": content_type})  # noqa: S310  # loopback
    try:
        with urllib.request.urlopen(request, timeout=wrk.TIMEOUT_S) as response:  # noqa: S310
            return response.read()
    except urllib.error.HTTPError as error:
        raise ServerError(f"{url} returned {error.code}: {error.read()[:500]!r}") from error
    except OSError as error:
        raise ServerError(f"{url} does not respond: {error}") from error


def check(answers: Sequence[Mapping[str, Any]], expected: Sequence[tuple[str, float]], tolerance: float) -> None:
    """Raise ServerError if a probability differs by more than the tolerance, or another class is predicted.

    Another class is accepted if the expected probability is at most 0.5 plus the tolerance.
    """
    for answer, (label, probability) in zip(answers, expected, strict=True):
        same = answer["label"] == label or probability <= 0.5 + tolerance
        if not same or abs(answer["probability"] - probability) > tolerance:
            raise ServerError(f"the prediction is {dict(answer)}, expected {label} with {probability}")


def bare_loop(task: TaskName, material: Material, seconds: int) -> dict[str, float]:
    """Return the examples per second of the graph without a server, on all cores."""
    contents = material.contents[task]
    written = [base64.b64encode(one).decode() if isinstance(one, bytes) else one for one in contents]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "contents.json"
        path.write_text(json.dumps(written))
        words = [sys.executable, "-m", "benchmarks.peers.serving.bare_loop", str(path), str(seconds)]
        environment = os.environ | {"TASK": task, "MODELS": str(material.models)}
        return json.loads(subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True).stdout)
