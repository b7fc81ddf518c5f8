"""From SIGTERM to the end of a worker: say so, refuse what is new, answer what was begun, then leave."""

import asyncio
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from serving.metrics import TALLY

STEP_S = 0.05


class Drain:
    """`began`: `/readyz` says 503 and each answer closes its connection. `refusing`: no new connections.

    The server's own handler of SIGTERM, which stops accepting and closes what is idle, is called last: what comes in
    after it would wait for the process to end.
    """

    def __init__(self, notice_s: float, deadline_s: float) -> None:
        self.notice_s = notice_s
        self.deadline_s = deadline_s
        self.began = False
        self.refusing = False
        self.end_s = 0.0  # of the event loop's clock

    def install(self) -> None:
        """In the worker's main thread, after the server's own handler."""
        if (leave := signal.getsignal(signal.SIGTERM)) and callable(leave):
            loop = asyncio.get_running_loop()
            signal.signal(signal.SIGTERM, lambda number, frame: self._begin(loop, leave, number, frame))

    def _begin(
        self, loop: asyncio.AbstractEventLoop, leave: Callable[..., Any], number: int, frame: FrameType | None
    ) -> None:
        if not self.began:
            self.began = True
            loop.call_soon_threadsafe(lambda: loop.create_task(self._end(lambda: leave(number, frame))))

    async def _end(self, leave: Callable[[], Any]) -> None:
        await asyncio.sleep(self.notice_s)
        self.refusing = True
        self.end_s = asyncio.get_running_loop().time() + self.deadline_s
        while TALLY.in_flight and self.left_s() > 0:
            await asyncio.sleep(STEP_S)
        leave()

    def left_s(self) -> float:
        """For what is being answered once connections are refused."""
        return self.end_s - asyncio.get_running_loop().time()
