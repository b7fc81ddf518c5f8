"""Concurrency: limits of concurrent requests, the request queue and thread pools."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event
from typing import Any, Generic, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from serving.errors import overloaded
from serving.settings import QueueSettings

INTERVAL_S = 0.1  # CoDel's interval, longer than the queue needs for a burst
RELAPSE_S = 0.4  # an overload within this time after a pause is the same overload
PAUSE_FACTOR = 10
MAX_PAUSE_S = 10.0
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
Waiting = tuple[ItemT, asyncio.Future[ResultT]]


class Slots:
    """Limit of concurrent requests. Entering it raises RequestError 429 if all slots are in use."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def __enter__(self) -> None:
        if self.used >= self.limit:
            raise overloaded()
        self.used += 1

    def __exit__(self, *_: object) -> None:
        self.used -= 1


class RequestQueue(Generic[ItemT, ResultT]):
    """Bounded FIFO with load shedding and micro-batching, in front of a model.

    `execute` takes up to `batch_size` items, oldest first, and returns a result for each; a result that is an exception
    is raised in the `submit` call of its item. It runs in `executor` if given, else on the event loop.

    Up to `max_depth` requests wait, so that bursts are accepted. A queue that is full and has not been empty for
    `INTERVAL_S` is overloaded: waiting would only delay every response. All requests except the `min_depth` newest are
    then rejected, and the depth is limited to `min_depth` during a pause. If the overload continues after it, the next
    pause is `PAUSE_FACTOR` times as long. (CoDel, RFC 8289; Maurer 2015, Fail at Scale, ACM Queue 13(8))
    """

    def __init__(
        self,
        execute: Callable[[list[ItemT]], list[ResultT]],
        limits: QueueSettings,
        batch_size: int = 1,
        executor: Executor | None = None,
    ) -> None:
        self.execute = execute
        self.min_depth = max(limits.min_depth, batch_size)
        self.max_depth = max(limits.max_depth, self.min_depth)
        self.depth = self.max_depth
        self.batch_size = batch_size
        self.executor = executor
        self.waiting: deque[Waiting[ItemT, ResultT]] = deque()
        self.busy = False
        self.last_empty_s = time.monotonic()
        self.pause_s = INTERVAL_S
        self.pause_end_s = -math.inf

    def should_shed(self) -> bool:
        """Return whether to reject a new request. At the start of an overload, reject waiting requests, too."""
        now_s = time.monotonic()
        if not self.waiting:
            self.last_empty_s = now_s
        if now_s >= self.pause_end_s:
            self.depth = self.max_depth
        if len(self.waiting) < self.depth:
            return False
        if self.depth > self.min_depth and now_s - self.last_empty_s >= INTERVAL_S:
            self._pause(now_s)
        return True

    def _pause(self, now_s: float) -> None:
        goes_on = now_s - self.pause_end_s < RELAPSE_S
        self.pause_s = min(PAUSE_FACTOR * self.pause_s, MAX_PAUSE_S) if goes_on else INTERVAL_S
        self.pause_end_s = now_s + self.pause_s
        self.depth = self.min_depth
        while len(self.waiting) > self.depth:
            _, future = self.waiting.popleft()
            if not future.done():
                future.set_exception(overloaded())

    async def submit(self, item: ItemT) -> ResultT:
        """Return the result for `item`. Raises RequestError 429 if the queue is full."""
        if len(self.waiting) >= self.depth:
            raise overloaded()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()
        self.waiting.append((item, future))
        if not self.busy:
            self.busy = True
            loop.call_soon(self._step)
        return await future

    def _step(self) -> None:
        """Run the model once. Between two runs the event loop reads requests and sends responses."""
        taken = self._take()
        items = [item for item, _ in taken]
        if self.executor is None or not items:
            self._settle(taken, self._results(items))
            return
        try:
            run = asyncio.get_running_loop().run_in_executor(self.executor, self._results, items)
        except RuntimeError as error:  # no thread can be started
            self._settle(taken, [error] * len(taken))
        else:
            run.add_done_callback(lambda run: self._settle(taken, _results_of(run, len(taken))))

    def _take(self) -> list[Waiting[ItemT, ResultT]]:
        """Remove a batch from the queue and return it, without cancelled items."""
        taken = [self.waiting.popleft() for _ in range(min(self.batch_size, len(self.waiting)))]
        return [entry for entry in taken if not entry[1].done()]

    def _results(self, items: list[ItemT]) -> list[Any]:
        try:
            results = self.execute(items) if items else []
            assert len(results) == len(items)
        except BaseException as error:  # every exception, also a Rust panic, must reach the waiting callers
            return [as_exception(error)] * len(items)
        return results

    def _settle(self, taken: list[Waiting[ItemT, ResultT]], results: list[Any]) -> None:
        for (_, future), result in zip(taken, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if self.waiting:
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._step)  # one iteration later, after these responses are sent
        else:
            self.busy = False


class WorkPool:
    """Thread pool, in FIFO order, for work that would block the event loop."""

    def __init__(self, threads: int) -> None:
        self.executor = ThreadPoolExecutor(threads)

    async def run(self, work: Callable[[Event], ResultT], receive: Receive) -> ResultT:
        """Run `work` and return its result. The event that it receives is set when the result is no longer needed.

        `receive` belongs to the request, whose body has been read. Raises ClientDisconnect if the client disconnects
        first; work that has not started is then dropped.
        """
        given_up = Event()
        pending = [work]  # cleared on cancellation, because the executor keeps cancelled jobs, with the request's body
        job = asyncio.get_running_loop().run_in_executor(self.executor, lambda: pending.pop()(given_up))
        leaving = asyncio.ensure_future(_disconnect(receive))
        try:
            await asyncio.wait((job, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                raise ClientDisconnect
            return _result(job)
        finally:
            given_up.set()
            job.cancel()
            pending.clear()
            leaving.cancel()


def _results_of(run: "asyncio.Future[list[Any]]", count: int) -> list[Any]:
    """Return the results, or the exception for each item if the executor cancelled or could not start the run."""
    try:
        return run.result()
    except BaseException as error:
        return [as_exception(error)] * count


async def _disconnect(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _result(job: "asyncio.Future[ResultT]") -> ResultT:
    error = job.exception()
    if error is not None:
        raise as_exception(error)
    return job.result()


def as_exception(error: BaseException) -> Exception:
    """Return the error, or a RuntimeError for a BaseException such as a Rust panic, which handlers do not catch."""
    return error if isinstance(error, Exception) else RuntimeError(repr(error))
