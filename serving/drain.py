"""From SIGTERM to the end of a worker: tell the probes, refuse what is new, answer what was begun, then leave."""

import asyncio
import logging
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

STEP_S = 0.05
LOGGER = logging.getLogger("bentoml.relu_pipeline")


class Drain:
    """`began`: `/readyz` says 503 and each answer closes its connection. `refusing`: no new requests for the models.

    uvicorn's own handler of SIGTERM, which stops accepting and closes idle connections, is called last: the parent
    process holds the socket, so what comes in after it would wait for the process to end.
    """

    def __init__(self, notice_s: float, deadline_s: float, in_flight: Callable[[], int]) -> None:
        self.notice_s = notice_s
        self.deadline_s = deadline_s
        self.in_flight = in_flight
        self.began = False
        self.refusing = False

    def install(self) -> None:
        """Take the place of uvicorn's handler. Called in the worker's main thread, once uvicorn has set its own."""
        leave, loop = signal.getsignal(signal.SIGTERM), asyncio.get_running_loop()
        if callable(leave):
            signal.signal(signal.SIGTERM, lambda number, frame: self._begin(loop, leave, number, frame))
        else:
            LOGGER.error("uvicorn has no handler of SIGTERM: the service will end without draining")

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
