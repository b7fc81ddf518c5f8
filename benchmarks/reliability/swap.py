"""Hot reload under load: valid model files are loaded without lost requests, invalid ones are rejected."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import requests
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.reliability import variants
from benchmarks.reliability.bench import Bench, Outcome, Promise, find_capacity
from benchmarks.reliability.client import Record, loading, now
from benchmarks.reliability.variants import Variant
from relu_pipeline.config import TaskName
from relu_pipeline.swap import swap

LOAD = 0.5  # of capacity
DECIDED_S = 5.0
PATIENCE_S = 30.0
POLL_S = 0.1
INFOS = 10  # requests of /info on new connections, to reach more than one worker


@dataclass(frozen=True)
class Step:
    """Replacement of files; each worker must then count one more `result`, and use the model `serves`."""

    what: str
    put: Callable[[], object]
    result: str
    serves: Variant


@dataclass(frozen=True)
class Done:
    """Result of a step; `decided_s` is when all workers had counted it, `denials` the contradicting /info after it."""

    step: Step
    put_s: float
    decided_s: float
    denials: int


async def measure(bench: Bench, task: TaskName, calm_s: float) -> Outcome:
    """Run the steps under load, with `calm_s` of load before and after, and for the capacity.

    The first model is in place at the end.
    """
    load = bench.requests(task)
    capacity, _ = await find_capacity(bench, load, calm_s)
    record = Record(keep_bodies=True)
    with TemporaryDirectory() as scratch:
        steps = plan(task, bench.models / task, Path(scratch))
        async with loading(bench.port, load, LOAD * capacity, record):
            await asyncio.sleep(calm_s)
            done = [await asyncio.to_thread(take, bench, task, step) for step in steps]
            await asyncio.sleep(calm_s)
    mixed, stale = misanswered(record, done)
    figures = {
        "per_s": LOAD * capacity,
        "statuses": record.statuses(),
        "failures": record.reasons(),
        "decided_after_s": {one.step.what: one.decided_s - one.put_s for one in done},
        "answers": Counter(read(body)[0] for _, body in record.bodies),
    }
    promises = [
        Promise("requests lost", record.others("200", "429"), 0),
        Promise("requests rejected", record.refused(), 0),
        Promise("predictions with a label of another version", mixed, 0),
        Promise("predictions by a version that is not in use", stale, 0),
    ]
    for one in done:
        promises += [
            Promise(f"{one.step.what}: {one.step.result} in every worker, s", one.decided_s - one.put_s, DECIDED_S),
            Promise(f"{one.step.what}: contradicting /info", one.denials, 0),
        ]
    return Outcome(figures, promises)


def plan(task: TaskName, model: Path, scratch: Path) -> list[Step]:
    first = variants.first(model, scratch / "first")
    renamed = variants.renamed(model, scratch / "renamed")
    altered = variants.altered(model, scratch / "altered")
    unlike = variants.unlike(model, scratch / "unlike")
    return [
        Step("new labels", partial(swap, task, renamed.folder, model), "ok", renamed),
        Step("wrong sha256", partial(variants.place, altered.folder, model), "refused", renamed),
        Step("wrong predictions", partial(swap, task, unlike.folder, model), "refused", renamed),
        Step("first model again", partial(swap, task, first.folder, model), "ok", first),
    ]


def take(bench: Bench, task: TaskName, step: Step) -> Done:
    expected = reloads(bench, task, step.result) + len(bench.server.workers())
    step.put()
    put_s = now()
    while reloads(bench, task, step.result) < expected:
        if now() > put_s + PATIENCE_S:
            return Done(step, put_s, inf, INFOS)
        time.sleep(POLL_S)
    return Done(step, put_s, now(), sum(denies(bench, task, step) for _ in range(INFOS)))


def reloads(bench: Bench, task: TaskName, result: str) -> float:
    """Return `relu_reloads_total`, the sum over the workers."""
    shown = requests.get(f"{bench.server.url}/metrics", timeout=PATIENCE_S).text
    samples = [sample for family in text_string_to_metric_families(shown) for sample in family.samples]
    wanted = {"task": task, "result": result}
    return sum(one.value for one in samples if one.name == "relu_reloads_total" and one.labels == wanted)


def denies(bench: Bench, task: TaskName, step: Step) -> bool:
    info = requests.get(f"{bench.server.url}/info", timeout=PATIENCE_S).json()
    refuses = info["refused"][task] is not None
    return info["models"][task]["version"] != step.serves.version or refuses != (step.result == "refused")


def misanswered(record: Record, done: list[Done]) -> tuple[int, int]:
    """Return the numbers of predictions with labels of another version, and by a version that was not in use."""
    labels = {one.step.serves.version: one.step.serves.labels for one in done}
    edges = [*(one.put_s for one in done[1:]), inf]
    mixed = stale = 0
    for due_s, body in record.bodies:
        version, named = read(body)
        mixed += not named <= labels.get(version, frozenset())
        expected = {
            one.step.serves.version for one, end_s in zip(done, edges, strict=True) if one.decided_s < due_s < end_s
        }
        stale += bool(expected) and expected != {version}
    return mixed, stale


def read(body: bytes) -> tuple[str, frozenset[str]]:
    """Return the version and all labels of a prediction."""
    answer = msgspec.json.decode(body)
    return answer["model"]["version"], frozenset(score["label"] for score in answer["top"])
