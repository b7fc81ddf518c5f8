"""Clients that never finish a request, behind nginx: they are disconnected, and other clients are not affected."""

import asyncio
from itertools import chain
from math import inf

from benchmarks.reliability.bench import Bench, Outcome, Promise, find_capacity, latencies_ms, p99_ms, post
from benchmarks.reliability.client import Record, loading, now, open_loop

LOAD = 0.1  # of capacity
DRIP_S = 1.0  # between two bytes
MARGIN_S = 1.0
P99_TIMES = 1.5
MORE = 1000 * b" "
HEADERS = b"POST /classify_text HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
KINDS = {
    "silent": (b"", b""),
    "dripping headers": (b"", HEADERS + MORE),
    "dripping bodies": (post("/classify_text", "application/json", MORE)[: -len(MORE)], MORE),
}


class SlowClient(asyncio.Protocol):
    """Client that sends `first` at once, then `rest` byte by byte; `open_s` is the time until it is disconnected."""

    def __init__(self, first: bytes, rest: bytes) -> None:
        self.first = first
        self.rest = rest
        self.open_s = inf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.connected_s = now()
        transport.write(self.first)
        self._drip()

    def _drip(self) -> None:
        if self.rest and not self.transport.is_closing():
            self.transport.write(self.rest[:1])
            self.rest = self.rest[1:]
            asyncio.get_running_loop().call_later(DRIP_S, self._drip)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_s = now() - self.connected_s


async def measure(bench: Bench, clients: int, calm_s: float) -> Outcome:
    """Connect `clients` of each kind; `calm_s` each is for the capacity and the latency without them."""
    deadline_s = bench.settings.deadline_s
    requests = bench.requests("text", "image")
    capacity, _ = await find_capacity(bench, requests, calm_s)
    alone = await open_loop(bench.port, requests, LOAD * capacity, calm_s)
    beside = Record()
    async with loading(bench.port, requests, LOAD * capacity, beside):
        slow = {kind: [await connect(bench.port, *sends) for _ in range(clients)] for kind, sends in KINDS.items()}
        await asyncio.sleep(deadline_s + 2 * MARGIN_S)
    open_s = {kind: [client.open_s for client in of_kind] for kind, of_kind in slow.items()}
    for client in chain.from_iterable(slow.values()):
        client.transport.abort()
    alone_ms, beside_ms = p99_ms(alone.seconds()), p99_ms(beside.seconds())
    figures = {
        "clients_of_each_kind": clients,
        "per_s": LOAD * capacity,
        "open_s": {kind: {"min": min(times), "max": max(times)} for kind, times in open_s.items()},
        "alone": {"statuses": alone.statuses(), "ms": latencies_ms(alone.seconds())},
        "beside_them": {"statuses": beside.statuses(), "ms": latencies_ms(beside.seconds())},
    }
    promises = [
        *(Promise(f"{kind}: longest open, s", max(times), deadline_s + MARGIN_S) for kind, times in open_s.items()),
        Promise("other clients: requests lost", alone.others("200", "429") + beside.others("200", "429"), 0),
        Promise("other clients: requests rejected", alone.refused() + beside.refused(), 0),
        Promise("other clients: p99, relative to no slow clients", beside_ms / alone_ms, P99_TIMES),
    ]
    return Outcome(figures, promises)


async def connect(port: int, first: bytes, rest: bytes) -> SlowClient:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: SlowClient(first, rest), "127.0.0.1", port)
    return client
