"""Graceful shutdown of a worker after SIGTERM."""

import asyncio
import logging
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

STEP_S = 0.05
LOGGER = logging.getLogger("bentoml.relu_pipeline")


class Drain:
    """Graceful shutdown: report 503 to readiness probes, reject new requests, finish the running ones, then exit.

    From `began` on, `/readyz` returns 503 and every response closes its connection. From `refusing` on, after
    `notice_s`, new requests to the models are rejected. uvicorn's SIGTERM handler, which stops accepting and closes
    idle connections, is called after at most another `deadline_s`: the parent process holds the listening socket, so a
    connection that arrives later is not accepted until the process ends.
    """

    def __init__(self, notice_s: float, deadline_s: float, in_flight: Callable[[], int]) -> None:
        self.notice_s = notice_s
        self.deadline_s = deadline_s
        self.in_flight = in_flight
        self.began = False
        self.refusing = False

    def install(self) -> None:
        """Replace uvicorn's handler. Must be called in the worker's main thread, after uvicorn has set it."""
        leave, loop = signal.getsignal(signal.SIGTERM), asyncio.get_running_loop()
        if callable(leave):
            signal.signal(signal.SIGTERM, lambda number, frame: self._begin(loop, leave, number, frame))
        else:
            LOGGER.error("uvicorn has no SIGTERM handler: the service will stop without draining")

    def _begin(
        self, loop: asyncio.AbstractEventLoop, leave: Callable[..., Any], number: int, frame: FrameType | None
    ) -> None:
        if not self.began:
            self.began = True
            loop.call_soon_threadsafe(lambda: loop.create_task(self._end(lambda: leave(number, frame))))

    async def _end(self, leave: Callable[[], Any]) -> None:
        await asyncio.sleep(self.notice_s)
        self.refusing = True
        end_s = asyncio.get_running_loop().time() + self.deadline_s
        while self.in_flight() and asyncio.get_running_loop().time() < end_s:
            await asyncio.sleep(STEP_S)
        leave()
