"""How connections come in: many at once without delay, and to whichever worker has time."""

import resource
import socket
import time
from contextlib import suppress

import uvicorn

from serving.metrics import TALLY

ACCEPTS = 16  # in a turn; each more costs a system call for every connection, and from 32 on that shows
# Of a worker that has nothing to do, at each accepting: turns of its loop are so short that, of some connections that
# are opened together, it would often take all; this lets another worker take the next.
NAP_S = 1e-9  # 60 microseconds in effect
MAX_NAPS = 32  # connections of a worker: many more are shared well enough, and would keep it asleep
LONG_NAP_S = 1e-3  # the core is busy: the other had its time, and requests wait for this one
PAUSE_S = 0.1  # without naps, after a long one


class Server(uvicorn.Server):
    """Accepts up to `ACCEPTS` connections in a turn of the event loop.

    libuv takes one (https://github.com/libuv/libuv/pull/3696): of 900 that are opened at once the last would wait for
    half a second where turns are long, as they are in overload.
    """

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets and [copy for listener in sockets for copy in _copies(listener)])


def _copies(listener: socket.socket) -> list[socket.socket]:
    """The loop accepts from each of them."""
    listener.setblocking(False)  # or `dup` would make it wait, for all workers, and one could stay in `accept`
    return [listener, *(listener.dup() for _ in range(ACCEPTS - 1))]


class Courtesy:
    """Of this worker towards the others."""

    def __init__(self) -> None:
        self.paused_until_s = 0.0  # of the monotonic clock

    def give_way(self, connections: int) -> None:
        """`connections`: those that this worker has. Called whenever it accepts one."""
        began_s = time.monotonic()
        if connections < MAX_NAPS and not TALLY.in_flight and began_s >= self.paused_until_s:
            time.sleep(NAP_S)
            if (woke_s := time.monotonic()) - began_s > LONG_NAP_S:
                self.paused_until_s = woke_s + PAUSE_S


def install() -> None:
    """BentoML's workers then start this server, and may open as many files as their user allows.

    Many systems give a process 1024 unless it asks for more: fewer than `max_connections` and the rest need.
    """
    uvicorn.Server = Server
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS names a limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
