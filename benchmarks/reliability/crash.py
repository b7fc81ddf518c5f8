"""`kill -9` of one worker under load: only its requests in progress are lost, and a new worker replaces it."""

import asyncio
from contextlib import suppress
from math import inf

import numpy as np
import psutil

from benchmarks.reliability.bench import Bench, Outcome, Promise, find_capacity, ports_of
from benchmarks.reliability.client import UNSENT, Record, loading, now

LOAD = 0.8  # of capacity: more than one of two workers can handle
WINDOW_S = 1.0
RESTORED = 0.95  # fraction of the load that must succeed in each window after the recovery
BACK_S = 10.0
PATIENCE_S = 60.0
READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def measure(bench: Bench, calm_s: float, settle_s: float) -> Outcome:
    """Kill a worker after `calm_s` of load; continue for `settle_s` after the first response of the new worker.

    `calm_s` is also the time for measuring the capacity.
    """
    requests = bench.requests("text", "image")
    capacity, _ = await find_capacity(bench, requests, calm_s)
    rate = LOAD * capacity
    record = Record()
    async with loading(bench.port, requests, rate, record):
        await asyncio.sleep(calm_s)
        before = bench.server.workers()
        ports = kill(before[0], bench.port)
        killed_s = now()
        replaced_s = await answered_by_another(bench, before, killed_s + PATIENCE_S) - killed_s
        await asyncio.sleep(settle_s)
        ended_s = now()
    back_s = restored_s(record, rate, killed_s, ended_s) - killed_s
    elsewhere = [one for one in record.failures if one.port not in ports and one.reason != UNSENT]
    figures = {
        "capacity_per_s": capacity,
        "per_s": rate,
        "connections_of_the_worker": len(ports),
        "statuses_before": record.statuses(until_s=killed_s),
        "statuses_after": record.statuses(killed_s),
        "failures": record.reasons(),
        "new_worker_answers_after_s": replaced_s,
        "all_is_answered_after_s": back_s,
    }
    promises = [
        Promise("requests lost on connections of other workers", len(elsewhere), 0),
        Promise("responses other than 200 and 429", record.others("200", "429", "none", "unsent"), 0),
        Promise("requests not sent because no connection was free", record.statuses().get("unsent", 0), 0),
        Promise("first response of the new worker, s", replaced_s, BACK_S),
        Promise("all requests succeed again, s", back_s, BACK_S),
    ]
    return Outcome(figures, promises)


def kill(worker: psutil.Process, port: int) -> set[int]:
    """Kill a worker and return the client ports of its connections. It is suspended first, so that it accepts none."""
    worker.suspend()
    ports = ports_of(worker, port)
    worker.kill()
    return ports


async def answered_by_another(bench: Bench, before: list[psutil.Process], until_s: float) -> float:
    """Return the time of the first response of a worker that is not in `before`, or infinity if there is none."""
    while now() < until_s:
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        with suppress(OSError, EOFError, psutil.NoSuchProcess):
            writer.write(READY)
            await reader.readuntil(b"\r\n\r\n")
            port = writer.get_extra_info("sockname")[1]
            if any(port in ports_of(worker, bench.port) for worker in bench.server.workers() if worker not in before):
                return now()
        writer.close()
    return inf


def restored_s(record: Record, rate: float, killed_s: float, ended_s: float) -> float:
    """Return the start of the first window after which all windows are `RESTORED`, or infinity."""
    starts = np.arange(killed_s, ended_s - WINDOW_S, WINDOW_S)
    enough = [record.statuses(start, start + WINDOW_S).get("200", 0) >= RESTORED * rate * WINDOW_S for start in starts]
    missed = np.flatnonzero(~np.array(enough, dtype=bool))
    if not len(missed):
        return killed_s
    return float(starts[missed[-1] + 1]) if missed[-1] + 1 < len(starts) else inf
