"""Where requests wait for a graph: bounded, fair while that is possible, soon or not at all when it is not."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Generic, TypeVar

from serving.errors import overload
from serving.metrics import TALLY
from serving.settings import QueueSettings

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
Waiting = tuple[ItemT, asyncio.Future[ResultT]]


class Lane(Generic[ItemT, ResultT]):
    """`execute` takes up to `max_rows` items, the oldest first, and gives a result for each; an exception as a result
    is raised to the one who submitted that item.

    Once `max_waiting` wait, the lane is overloaded: it refuses all but the `max_waiting_overloaded` newest, and holds
    to that limit until it was empty. A queue that stays full would only make every answer late (Maurer 2015, Fail at
    Scale, ACM Queue 13(8)). In `executor` if given, else on the event loop.
    """

    def __init__(
        self,
        execute: Callable[[list[ItemT]], list[ResultT]],
        limits: QueueSettings,
        max_rows: int = 1,
        executor: Executor | None = None,
    ) -> None:
        self.execute = execute
        self.limits = limits
        self.max_rows = max_rows
        self.executor = executor
        self.waiting: deque[Waiting[ItemT, ResultT]] = deque()
        self.busy = False
        self.overloaded = False

    def is_full(self) -> bool:
        limit = self.limits.max_waiting_overloaded if self.overloaded else self.limits.max_waiting
        return len(self.waiting) >= limit

    def admit(self) -> None:
        """Raises RequestError 429 where another item would have to wait too long."""
        if not self.is_full():
            return
        self.overloaded = True
        while len(self.waiting) > self.limits.max_waiting_overloaded:
            _, future = self.waiting.popleft()
            TALLY.waiting -= 1
            if not future.done():
                future.set_exception(overload())
        raise overload()

    async def submit(self, item: ItemT) -> ResultT:
        self.admit()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()
        self.waiting.append((item, future))
        TALLY.waiting += 1
        if not self.busy:
            self.busy = True
            loop.call_soon(self._step)
        return await future

    def _step(self) -> None:
        """One run. Between two of them the loop lets arrivals in, and what needs no graph."""
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
            run.add_done_callback(lambda run: self._settle(taken, run.result()))

    def _take(self) -> list[Waiting[ItemT, ResultT]]:
        """Without those whose caller has given up."""
        count = min(self.max_rows, len(self.waiting))
        taken = [self.waiting.popleft() for _ in range(count)]
        TALLY.waiting -= count
        return [entry for entry in taken if not entry[1].done()]

    def _results(self, items: list[ItemT]) -> list[Any]:
        try:
            results = self.execute(items) if items else []
            assert len(results) == len(items)
        except BaseException as error:  # of whatever kind, a panic of Rust's too: those who wait must hear of it
            return [error if isinstance(error, Exception) else RuntimeError(repr(error))] * len(items)
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
            asyncio.get_running_loop().call_soon(self._step)
        else:
            self.busy = self.overloaded = False
