"""Predictions for single items and batches, in the calling thread or on the event loop of a server."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from serving.batching import RequestQueue, WorkPool
from serving.errors import ModelError, RequestError
from serving.metrics import QUEUE_DEPTH
from serving.model import CHUNK_SIZE, MANIFEST, MODELS, Model, Row
from serving.model_store import ModelStore
from serving.onnx_session import on_gpu
from serving.schemas import Answer
from serving.settings import Settings

ItemT = TypeVar("ItemT")
Entry = tuple[Model, Row]
# Two concurrent batches in a worker then use two cores, if other workers are idle.
BATCH_THREADS = 2


class Predictor:
    """Predictor with the models of `folder`, one for each task.

    `classify` and `classify_batch` run in the calling thread. `answer` and `answer_batch` run on the event loop of a
    server: small items are decoded there and queued for the model, large items and batches are processed in threads.
    All raise RequestError. Raises ModelError if there is no model, or one cannot be loaded.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.settings = settings
        self.stores = {task: ModelStore(task, folder / task, settings) for task in tasks_in(folder)}
        self.queues = {task: self._queue(store.current) for task, store in self.stores.items()}
        self.large_items = WorkPool(1)
        self.batches = WorkPool(BATCH_THREADS)

    def _queue(self, model: Model) -> RequestQueue[Entry, dict[str, Any]]:
        size = self.settings.queue.micro_batch_size
        if size == "auto":
            size = CHUNK_SIZE if on_gpu(model.session) else 1
        return RequestQueue(_run, self.settings.queue, size, ThreadPoolExecutor(1) if size > 1 else None)

    def follow(self) -> None:
        """Load new model files and update the metrics; called once per second."""
        for store in self.stores.values():
            store.follow()
        self.record_metrics()

    def record_metrics(self) -> None:
        """Update the metrics that would be too slow to update with each request."""
        for task, store in self.stores.items():
            store.current.watch.record()
            QUEUE_DEPTH.labels(task).set(len(self.queues[task].waiting))

    async def answer(self, task: str, item: Any, receive: Receive) -> dict[str, Any]:
        """Return the `Prediction` of one item, as plain data; `receive` belongs to its request."""
        model = self.stores[task].current
        row = model.read_inline(item)
        if row is None:
            return await self.large_items.run(lambda given_up: self.classify(task, item), receive)
        return await self.queues[task].submit((model, row))

    async def answer_batch(self, task: str, read: Callable[[], list[Any]], receive: Receive) -> dict[str, Any]:
        """Return the `Predictions` of the items that `read` returns, as plain data; `read` is called in a thread."""
        return await self.batches.run(lambda given_up: self.classify_batch(task, read(), given_up), receive)

    def classify(self, task: str, item: Any) -> dict[str, Any]:
        """Return the `Prediction` of one item, as plain data."""
        model = self.stores[task].current
        (answer,) = model.run([model.read(item)])
        return with_model_info(model, answer)

    def classify_batch(self, task: str, items: list[Any], given_up: Event | None = None) -> dict[str, Any]:
        """Return the `Predictions` of several items, as plain data, with an error for each item that cannot be read.

        Raises ClientDisconnect once `given_up` is set.
        """
        self.check_count(len(items))
        model = self.stores[task].current
        outcomes = [_read(model, item) for item in until_given_up(given_up, items)]
        rows = [outcome for outcome in outcomes if not isinstance(outcome, dict)]
        answers: list[Answer] = []
        for start in until_given_up(given_up, range(0, len(rows), CHUNK_SIZE)):
            answers += model.run(rows[start : start + CHUNK_SIZE])
        rest = iter(answers)
        entries = [outcome if isinstance(outcome, dict) else next(rest) for outcome in outcomes]
        return {"predictions": entries, "model": model.signature}

    def check_count(self, count: int) -> None:
        most = self.settings.limits.batch_items
        if not 1 <= count <= most:
            message = f"The request has {count} items; send 1 to {most}."
            raise RequestError(413 if count else 400, "wrong_item_count", message)


def tasks_in(folder: Path) -> list[str]:
    """Return the tasks that have a model in `folder`. Raises ModelError if there is none."""
    found = [task for task in MODELS if (folder / task / MANIFEST).exists()]
    if not found:
        names = " or ".join(f"{task}/{MANIFEST}" for task in MODELS)
        raise ModelError(f"{folder}: no {names}; run `dvc repro`, or set RELU_MODELS_DIR to a folder of models")
    return found


def until_given_up(given_up: Event | None, items: Iterable[ItemT]) -> Iterator[ItemT]:
    """Yield the items. Raises ClientDisconnect once `given_up` is set."""
    for item in items:
        if given_up and given_up.is_set():
            raise ClientDisconnect
        yield item


def with_model_info(model: Model, answer: Answer) -> dict[str, Any]:
    return {**answer, "model": model.signature}


def _run(entries: list[Entry]) -> list[dict[str, Any]]:
    """Return the predictions of queue entries; after a reload they may belong to two models."""
    results: list[dict[str, Any]] = []
    for _, group in groupby(entries, key=lambda entry: id(entry[0])):
        of_model = list(group)
        model = of_model[0][0]
        results += [with_model_info(model, answer) for answer in model.run([row for _, row in of_model])]
    return results


def _read(model: Model, item: Any) -> Row | dict[str, Any]:
    """Return the decoded item, or the error as plain data: an exception's traceback would keep the frame alive."""
    try:
        return model.read(item)
    except RequestError as error:
        return error.as_item()
