"""HTTP/1.1 load generator with persistent connections and low overhead, as it may share cores with the service.

wrk, hey, h2load and bombardier report neither the failed connections nor the bodies of responses, which two tests need.
Latencies are measured from the time when a request was due: measured from its sending, they would not include the wait
behind a slow server (coordinated omission; Tene 2013, How NOT to Measure Latency).
"""

import asyncio
import gc
import time
from array import array
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from math import inf

import numpy as np
from numpy.typing import NDArray

MOST_CONNECTIONS = 900  # below the limit of one worker
GRACE_S = 15.0  # for the last requests; longer than the service's deadline
STEP_S = 0.001
RENEWED = 50  # responses per connection of a closed loop: connections opened together may all go to one worker
UNSENT = f"all {MOST_CONNECTIONS} connections are waiting"
HEADERS_END = b"\r\n\r\n"
LENGTH = b"content-length: "
now = time.perf_counter


@dataclass(frozen=True, slots=True)
class Failure:
    """Request without a response; `port` is the client port of its connection, 0 if there was none.

    Times are those of `now()`.
    """

    due_s: float
    failed_s: float
    port: int
    reason: str


class Record:
    """Results of all requests. Times are those of `now()`; `bodies` has due time and body of responses 200."""

    def __init__(self, keep_bodies: bool = False) -> None:
        self.due = array("d")
        self.done = array("d")
        self.status = array("H")
        self.size = array("L")  # bytes of the request
        self.late = array("d")  # seconds from due to sent: the client's own delay
        self.failures: list[Failure] = []
        self.bodies: list[tuple[float, bytes]] = []
        self.keep_bodies = keep_bodies

    def answer(self, due_s: float, size: int, status: int, body: bytes) -> None:
        self.due.append(due_s)
        self.done.append(now())
        self.status.append(status)
        self.size.append(size)
        if self.keep_bodies and status == 200:
            self.bodies.append((due_s, body))

    def seconds(
        self, status: int = 200, since_s: float = 0.0, until_s: float = inf, max_bytes: float = inf
    ) -> NDArray[np.float64]:
        """Return the latencies of responses with a status, to requests of at most `max_bytes` due between the times."""
        due, size = np.array(self.due), np.array(self.size)
        chosen = (np.array(self.status) == status) & (due >= since_s) & (due < until_s) & (size <= max_bytes)
        return (np.array(self.done) - due)[chosen]

    def statuses(self, since_s: float = 0.0, until_s: float = inf) -> dict[str, int]:
        """Return the number of requests by status, for those due between the times.

        `none` counts requests without a response, `unsent` those for which no connection was free.
        """
        due = np.array(self.due)
        found = Counter(map(str, np.array(self.status)[(due >= since_s) & (due < until_s)].tolist()))
        failed = [failure.reason for failure in self.failures if since_s <= failure.due_s < until_s]
        found["unsent"] = failed.count(UNSENT)
        found["none"] = len(failed) - found["unsent"]
        return {status: found[status] for status in sorted(found) if found[status]}

    def others(self, *expected: str, since_s: float = 0.0, until_s: float = inf) -> int:
        """Return the number of requests due between the times with another status, or none."""
        found = self.statuses(since_s, until_s)
        return sum(count for status, count in found.items() if status not in expected)

    def refused(self) -> int:
        return self.statuses().get("429", 0)

    def under_way(self, at_s: float) -> int:
        """Return the number of requests in progress at this time."""
        return int(((np.array(self.due) < at_s) & (np.array(self.done) > at_s)).sum())

    def reasons(self) -> dict[str, int]:
        return dict(Counter(failure.reason for failure in self.failures))


class Connection(asyncio.Protocol):
    """Connection that sends one request at a time."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.due_s: float | None = None  # of the request in progress
        self.size = 0  # its bytes
        self.buffer = b""
        self.answered = 0
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.port = transport.get_extra_info("sockname")[1]

    def send(self, request: bytes, due_s: float) -> None:
        self.due_s = due_s
        self.size = len(request)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        end = self.buffer.find(HEADERS_END)
        if end < 0:
            return
        head = self.buffer[:end].lower()
        place = head.index(LENGTH) + len(LENGTH)
        length = int(head[place:].split(b"\r", 1)[0])
        if len(self.buffer) < end + len(HEADERS_END) + length:
            return
        body, self.buffer = self.buffer[end + len(HEADERS_END) :], b""
        due_s, self.due_s = self.due_s, None
        if due_s is not None:
            self.load.record.answer(due_s, self.size, int(head[9:12]), body)
        self.answered += 1
        if b"connection: close" in head or self.answered == self.load.answers_per_connection:
            self.transport.close()
        else:
            self.load.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.lost(self, repr(exc) if exc else "closed by the server")


class Load:
    """Sender of the encoded `requests`, in turn, to `port` of this machine."""

    def __init__(self, port: int, requests: Sequence[bytes], record: Record) -> None:
        self.port = port
        self.requests = cycle(requests)
        self.record = record
        self.connections: set[Connection] = set()
        self.idle: deque[Connection] = deque()  # used in FIFO order, which balances the workers
        self.opening: set[asyncio.Task[None]] = set()
        self.on_free: Callable[[], object] | None = None
        self.answers_per_connection = 0  # 0: unlimited
        self.sending = True

    def free(self, connection: Connection) -> None:
        self.idle.append(connection)
        if self.on_free:
            self.on_free()

    def lost(self, connection: Connection, reason: str) -> None:
        self.connections.discard(connection)
        if connection.due_s is not None:
            self.record.failures.append(Failure(connection.due_s, now(), connection.port, reason))
            connection.due_s = None
        if self.on_free:
            self.on_free()

    def send(self, due_s: float) -> None:
        """Send the next request on an idle connection, or on a new one."""
        request = next(self.requests)
        self.record.late.append(now() - due_s)
        while self.idle:
            connection = self.idle.popleft()
            if not connection.transport.is_closing():
                connection.send(request, due_s)
                return
        if len(self.connections) + len(self.opening) >= MOST_CONNECTIONS:
            self.record.failures.append(Failure(due_s, now(), 0, UNSENT))
            return
        task = asyncio.ensure_future(self._send_on_new(request, due_s))
        self.opening.add(task)
        task.add_done_callback(self.opening.discard)

    async def _send_on_new(self, request: bytes, due_s: float) -> None:
        try:
            connection = await self._connect()
        except OSError as error:
            self.record.failures.append(Failure(due_s, now(), 0, repr(error)))
        else:
            connection.send(request, due_s)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.port)
        self.connections.add(connection)
        return connection

    async def finish(self) -> None:
        """Wait for requests in progress, then close; requests without a response become failures."""
        end = now() + GRACE_S
        while now() < end and (self.opening or any(one.due_s is not None for one in self.connections)):
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            if connection.due_s is not None:
                reason = f"no response within {GRACE_S:g} s"
                self.record.failures.append(Failure(connection.due_s, now(), connection.port, reason))
                connection.due_s = None
            connection.transport.abort()


async def _send_at(load: Load, rate: float, step_s: float) -> None:
    """Send requests at even intervals, independent of responses."""
    started_s = now()
    due = 0
    while load.sending:
        while (due_s := started_s + due / rate) <= now():
            load.send(due_s)
            due += 1
        await asyncio.sleep(step_s)


@asynccontextmanager
async def loading(
    port: int, requests: Sequence[bytes], rate: float, record: Record, step_s: float = STEP_S
) -> AsyncIterator[None]:
    """Run an open loop of `rate` requests per second during the block; wait for all responses at its end.

    Requests that become due within a step are sent together at its end. With a step of 0, for a client with its own
    core, the sender never sleeps and sends each request when it is due.
    """
    load = Load(port, requests, record)
    gc.freeze()  # where PyTorch is imported, a full collection takes a third of a second, in which nothing is sent
    sender = asyncio.create_task(_send_at(load, rate, step_s))
    try:
        yield
    finally:
        load.sending = False
        await sender
        await load.finish()
        gc.unfreeze()


async def open_loop(
    port: int, requests: Sequence[bytes], rate: float, seconds: float, step_s: float = STEP_S
) -> Record:
    record = Record()
    async with loading(port, requests, rate, record, step_s):
        await asyncio.sleep(seconds)
    return record


async def closed_loop(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Record:
    """Run a closed loop: each connection sends its next request after a response."""
    record = Record()
    load = Load(port, requests, record)
    load.answers_per_connection = RENEWED
    load.on_free = lambda: load.send(now()) if load.sending else None
    for _ in range(connections):
        load.send(now())
    await asyncio.sleep(seconds)
    load.sending = False
    await load.finish()
    return record
