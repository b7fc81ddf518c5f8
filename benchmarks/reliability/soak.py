"""Long load at half of the capacity: memory, files and latency must not grow."""

import asyncio
from itertools import pairwise
from statistics import median

import numpy as np
import psutil

from benchmarks.reliability.bench import Bench, Outcome, Promise, find_capacity, latencies_ms, p99_ms
from benchmarks.reliability.client import Record, loading, now

LOAD = 0.5  # of capacity
SAMPLES = 30
EDGE = 3  # samples at each end, whose medians are compared
FIFTHS = 5
MEMORY = ("rss", "uss")
MEMORY_TIMES = 1.05
P99_TIMES = 1.5

Sample = dict[str, int]


async def measure(bench: Bench, seconds: float, warm_up_s: float, calm_s: float) -> Outcome:
    """Run `seconds` of load after the warm-up; `calm_s` is for the capacity."""
    requests = bench.requests("text", "image")
    capacity, _ = await find_capacity(bench, requests, calm_s)
    record, taken = Record(), list[Sample]()
    async with loading(bench.port, requests, LOAD * capacity, record):
        await asyncio.sleep(warm_up_s)
        edges = [now()]
        for _ in range(SAMPLES):
            taken.append(await asyncio.to_thread(sample, bench))
            await asyncio.sleep(max(0.0, edges[0] + len(taken) * seconds / SAMPLES - now()))
        edges.append(now())
    grown = growth(taken)
    bounds = np.linspace(*edges, FIFTHS + 1)
    fifths = [record.seconds(since_s=since, until_s=until) for since, until in pairwise(bounds)]
    figures = {
        "per_s": LOAD * capacity,
        "seconds": seconds,
        "statuses": record.statuses(),
        "ms": latencies_ms(record.seconds(since_s=edges[0])),
        "p99_ms_by_fifth": [p99_ms(fifth) for fifth in fifths],
        "held": grown,
    }
    promises = [
        Promise("requests lost", record.others("200", "429"), 0),
        Promise("requests rejected", record.refused(), 0),
        Promise("p99 of the last fifth, relative to the first", p99_ms(fifths[-1]) / p99_ms(fifths[0]), P99_TIMES),
    ]
    return Outcome(figures, promises + promises_of(grown))


def sample(bench: Bench) -> Sample:
    """Return the resources of each process, and the size of the folders that the service writes to."""
    found = {"log bytes": bench.server.log.stat().st_size}
    workers = {f"worker {number}": worker for number, worker in enumerate(bench.server.workers(), start=1)}
    for which, process in ({"parent": psutil.Process(bench.server.process.pid)} | workers).items():
        memory = process.memory_full_info()
        held = {"rss": memory.rss, "uss": memory.uss, "threads": process.num_threads(), "open files": files_of(process)}
        found |= {f"{which} {name}": value for name, value in held.items()}
    files = [path.stat() for folder in bench.written for path in folder.rglob("*") if path.is_file()]
    return found | {"files": len(files), "file bytes": sum(file.st_size for file in files)}


def files_of(process: psutil.Process) -> int:
    """Return the number of open file descriptors without network connections."""
    return process.num_fds() - len(process.net_connections())


def growth(taken: list[Sample]) -> dict[str, dict[str, float]]:
    """Return the medians of the first and the last samples by resource."""
    return {
        name: {"first": median(one[name] for one in taken[:EDGE]), "last": median(one[name] for one in taken[-EDGE:])}
        for name in taken[0]
    }


def promises_of(grown: dict[str, dict[str, float]]) -> list[Promise]:
    return [
        Promise(f"{name}, growth factor", ends["last"] / ends["first"], MEMORY_TIMES)
        if name.endswith(MEMORY)
        else Promise(f"{name}, growth", ends["last"] - ends["first"], 0)
        for name, ends in grown.items()
    ]
