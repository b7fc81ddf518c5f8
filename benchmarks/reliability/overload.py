"""Four times the capacity of the service, behind nginx: excess requests are rejected, the latency stays low."""

import asyncio

import numpy as np

from benchmarks.reliability.bench import PROBE, Bench, Outcome, Promise, find_capacity, latencies_ms, p99_ms
from benchmarks.reliability.client import STEP_S, Record, loading, open_loop
from relu_pipeline.config import TaskName

TIMES = 4
UNLOADED = 0.1  # of capacity
PROBES_PER_S = 10
PROBE_LIMIT_MS = 100
P99_TIMES = 3


async def measure(bench: Bench, task: TaskName, seconds: float, calm_s: float) -> Outcome:
    """Overload the service for `seconds`; `calm_s` each is for the capacity and the unloaded latency."""
    step_s = 0.0 if bench.apart else STEP_S
    requests = bench.requests(task)
    capacity, closed = await find_capacity(bench, requests, calm_s)
    unloaded = await open_loop(bench.port, requests, UNLOADED * capacity, calm_s, step_s)
    record, probes = Record(), Record()
    async with (
        loading(bench.port, [PROBE], PROBES_PER_S, probes),
        loading(bench.port, requests, TIMES * capacity, record, step_s),
    ):
        await asyncio.sleep(seconds)
    calm_ms, loaded_ms = p99_ms(unloaded.seconds()), p99_ms(record.seconds())
    figures = {
        "capacity_per_s": capacity,
        "unloaded": {"per_s": UNLOADED * capacity, "ms": latencies_ms(unloaded.seconds())},
        "overloaded": {
            "per_s": TIMES * capacity,
            "answered_per_s": len(record.seconds()) / seconds,
            "statuses": record.statuses(),
            "ms": latencies_ms(record.seconds()),
            "refused_ms": latencies_ms(record.seconds(429)),
            "sent_late_ms": latencies_ms(np.array(record.late)),
        },
        "readyz_ms": latencies_ms(probes.seconds()),
    }
    promises = [
        Promise("requests lost without overload", closed.others("200", "429") + unloaded.others("200", "429"), 0),
        Promise("requests rejected without overload", closed.refused() + unloaded.refused(), 0),
        Promise("requests lost in overload", record.others("200", "429", "unsent"), 0),
        Promise("requests not sent because no connection was free", record.statuses().get("unsent", 0), 0),
        Promise("p99 of accepted requests, relative to unloaded", loaded_ms / calm_ms, P99_TIMES),
        Promise("failed /readyz", probes.others("200"), 0),
        Promise("slowest /readyz, ms", probes.seconds().max(initial=0) * 1e3, PROBE_LIMIT_MS),
    ]
    return Outcome(figures, promises)
