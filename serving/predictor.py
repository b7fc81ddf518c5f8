"""From what callers sent to answers: in this process, or by way of the lanes in which requests wait."""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

from serving.errors import RequestError
from serving.lanes import Lane
from serving.live import LiveModel
from serving.metrics import TALLY
from serving.models import CHUNK_ROWS, MODELS, Model, Row
from serving.schemas import Answer
from serving.sessions import on_gpu
from serving.settings import Settings

Job = Callable[[], dict[str, Any]]


class Predictor:
    """Both models, behind the four endpoints. The methods raise RequestError.

    `answer` is for a server's event loop: what is small is read there and waits for the graph in its task's lane; the
    rest, and each batch, is a job in a thread, one at a time.
    """

    def __init__(self, models: Path, settings: Settings) -> None:
        self.settings = settings
        self.live = {task: LiveModel(task, models / task, settings) for task in MODELS}
        # Its jobs take so long that behind one any queue stands: it refuses what comes, none that waits.
        most = settings.queue.max_waiting_bulk
        bulk = settings.queue.model_copy(update={"max_waiting": most, "max_waiting_overloaded": most})
        self.bulk: Lane[Job, dict[str, Any]] = Lane(_do, bulk, executor=ThreadPoolExecutor(1))
        self.lanes = {task: self._lane(live.current) for task, live in self.live.items()}

    def _lane(self, model: Model) -> Lane[tuple[Model, Row], dict[str, Any]]:
        rows = self.settings.queue.micro_batch_rows
        if rows == "auto":
            rows = CHUNK_ROWS if on_gpu(model.session) else 1
        return Lane(_run, self.settings.queue, rows, ThreadPoolExecutor(1) if rows > 1 else None)

    def follow(self) -> None:
        """New model files, and what is kept for `/metrics` until there is more of it."""
        for live in self.live.values():
            live.follow()
        self.flush()

    def flush(self) -> None:
        for live in self.live.values():
            live.current.watch.flush()
        TALLY.flush()

    async def answer(self, task: str, item: Any) -> dict[str, Any]:
        model = self.live[task].current
        row = model.read_small(item)
        if row is None:
            return await self.bulk.submit(lambda: self.classify(task, item))
        return await self.lanes[task].submit((model, row))

    async def answer_batch(self, task: str, read: Callable[[], list[Any]]) -> dict[str, Any]:
        """`read` gives the items; it too is called in the thread."""
        end = time.monotonic() + self.settings.deadline_s
        return await self.bulk.submit(lambda: self.classify_batch(task, read(), end))

    def classify(self, task: str, item: Any) -> dict[str, Any]:
        """A `Prediction`, as plain data."""
        model = self.live[task].current
        (answer,) = model.run([model.read(item)])
        return _signed(model, answer)

    def classify_batch(self, task: str, items: list[Any], end: float = math.inf) -> dict[str, Any]:
        """`Predictions`, as plain data: what could not be read keeps its place, with its own error.

        Given up at `end`, of the monotonic clock: nobody waits for it any more.
        """
        self._check_count(items)
        model = self.live[task].current
        outcomes = [_attempt(model.read, item) for item in _until(end, items)]
        answers = iter(model.run([outcome for outcome in outcomes if not isinstance(outcome, RequestError)]))
        entries = [outcome.as_item() if isinstance(outcome, RequestError) else next(answers) for outcome in outcomes]
        return {"predictions": entries, "model": model.signature}

    def _check_count(self, items: list[Any]) -> None:
        most = self.settings.max_batch_items
        if not 1 <= len(items) <= most:
            message = f"the request has {len(items)} items; send 1 to {most}"
            raise RequestError(413 if items else 400, "wrong_item_count", message)


def _until(end: float, items: list[Any]) -> Iterator[Any]:
    for item in items:
        if time.monotonic() > end:
            raise RequestError(408, "deadline_exceeded", "the batch takes too long to read")
        yield item


def _run(waiting: list[tuple[Model, Row]]) -> list[dict[str, Any]]:
    """Of one model, but for the moment at which another takes its place."""
    results: list[dict[str, Any]] = []
    for _, group in groupby(waiting, key=lambda entry: id(entry[0])):
        entries = list(group)
        model = entries[0][0]
        results += [_signed(model, answer) for answer in model.run([row for _, row in entries])]
    return results


def _do(jobs: list[Job]) -> list[Any]:
    return [_attempt(lambda job: job(), job) for job in jobs]


def _signed(model: Model, answer: Answer) -> dict[str, Any]:
    return {**answer, "model": model.signature}


def _attempt(read: Callable[[Any], Any], item: Any) -> Any:
    try:
        return read(item)
    except RequestError as error:
        return error
