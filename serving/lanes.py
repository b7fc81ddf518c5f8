"""Where requests wait for a graph: bounded, fair while that is possible, soon or not at all when it is not."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Generic, TypeVar

from serving.errors import overload
from serving.metrics import TALLY
from serving.settings import QueueSettings

STANDING_S = 0.1  # longer than bursts take to be answered; CoDel's interval
MAX_DOUBLINGS = 32  # reach any limit
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
Waiting = tuple[ItemT, asyncio.Future[ResultT]]


class Lane(Generic[ItemT, ResultT]):
    """`execute` takes up to `max_rows` items, the oldest first, and gives a result for each; an exception as a result
    is raised to the one who submitted that item. In `executor` if given, else on the event loop.

    Up to `max_waiting` wait, for a burst is no overload. A queue that is full and has not been empty for `STANDING_S`
    is: it only makes every answer late. Then all but the `max_waiting_overloaded` newest, or as many as one run takes,
    are refused. Twice as many may wait with each `STANDING_S` that it does not happen again.
    (CoDel, RFC 8289; Maurer 2015, Fail at Scale, ACM Queue 13(8))
    """

    def __init__(
        self,
        execute: Callable[[list[ItemT]], list[ResultT]],
        limits: QueueSettings,
        max_rows: int = 1,
        executor: Executor | None = None,
    ) -> None:
        self.execute = execute
        self.max_waiting = limits.max_waiting
        self.max_waiting_overloaded = max(limits.max_waiting_overloaded, max_rows)
        self.max_rows = max_rows
        self.executor = executor
        self.waiting: deque[Waiting[ItemT, ResultT]] = deque()
        self.busy = False
        self.empty_s = -math.inf  # when somebody last found it empty, by the monotonic clock
        self.overloaded_s = -math.inf  # when it last was
        self.coming = 0  # those that `expect` let through in this turn of the loop, and that do not wait yet

    def expect(self) -> bool:
        """Is there room for a request that has just arrived? For all that arrive in one turn of the loop, room for
        each: what is let through is parsed before it is refused, which takes several times as long. May refuse some
        that wait.
        """
        if not self._has_room(self.coming):
            return False
        if not self.coming:
            asyncio.get_running_loop().call_soon(self._forget_coming)  # ahead of the tasks that are made for them
        self.coming += 1
        return True

    def _forget_coming(self) -> None:
        self.coming = 0

    def admit(self) -> None:
        """Raises RequestError 429 where another item would have to wait too long. May refuse some that wait."""
        if not self._has_room():
            raise overload()

    def _has_room(self, coming: int = 0) -> bool:
        now_s = time.monotonic()
        if not self.waiting:
            self.empty_s = now_s
        doublings = min((now_s - self.overloaded_s) / STANDING_S, MAX_DOUBLINGS)
        if len(self.waiting) + coming < min(self.max_waiting_overloaded << int(doublings), self.max_waiting):
            return True
        if now_s - self.empty_s >= STANDING_S:
            self.overloaded_s = now_s
            self._refuse_oldest()
        return False

    def _refuse_oldest(self) -> None:
        while len(self.waiting) > self.max_waiting_overloaded:
            _, future = self.waiting.popleft()
            TALLY.waiting -= 1
            if not future.done():
                future.set_exception(overload())

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
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._step)  # a turn later, when these answers have left
        else:
            self.busy = False
