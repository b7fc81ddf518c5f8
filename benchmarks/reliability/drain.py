"""SIGTERM under load: the service reports 503 to probes, completes requests, rejects new ones, and exits."""

import asyncio
import signal
import subprocess
from math import inf

import msgspec

from benchmarks.reliability.bench import PROBE, Bench, Outcome, Promise, find_capacity, post, samples
from benchmarks.reliability.client import Record, loading, now

LOAD = 0.5  # of capacity
BATCHES_PER_S = 4
BATCH_TEXTS = 256  # large enough that a batch is usually in progress
PROBES_PER_S = 50
NOTICED_S = 0.5
EDGE_S = 0.1  # before the end of the notice: requests due then may arrive after it
SIGNAL_S = 0.5  # until every worker has received the signal
AFTER_S = 2.0  # of load after the notice
REFUSED_S = 1.0
EXIT_S = 15.0


async def measure(bench: Bench, calm_s: float) -> Outcome:
    """Stop the service by SIGTERM after `calm_s` of load, which is also the time for measuring the capacity."""
    requests = bench.requests("text", "image")
    capacity, _ = await find_capacity(bench, requests, calm_s)
    single, batches, probes = Record(), Record(), Record()
    async with (
        loading(bench.port, requests, LOAD * capacity, single),
        loading(bench.port, [text_batch(bench)], BATCHES_PER_S, batches),
        loading(bench.port, [PROBE], PROBES_PER_S, probes),
    ):
        await asyncio.sleep(calm_s)
        told_s = now()
        bench.server.process.send_signal(signal.SIGTERM)
        exiting = asyncio.create_task(asyncio.to_thread(await_exit, bench.server.process))
        await asyncio.sleep(bench.settings.drain_notice_s + AFTER_S)
    exited_s, status = await exiting
    figures = {"per_s": LOAD * capacity, "exit_s": exited_s - told_s, "exit_status": status}
    promises = [Promise("exit, s", exited_s - told_s, EXIT_S), Promise("exit status", abs(status), 0)]
    ends_s = told_s + bench.settings.drain_notice_s
    for name, record in (("single", single), ("batch", batches)):
        figures[name] = by_phase(record, told_s, ends_s)
        promises += promises_of(name, record, ends_s)
    figures["readyz"] = by_phase(probes, told_s, ends_s)
    unready = [done for done, status in zip(probes.done, probes.status, strict=True) if status == 503]
    promises += [
        Promise("first 503 of /readyz, s after the signal", min(unready, default=inf) - told_s, NOTICED_S),
        Promise("200 of /readyz after that time", probes.statuses(told_s + NOTICED_S).get("200", 0), 0),
    ]
    return Outcome(figures, promises)


def promises_of(name: str, record: Record, ends_s: float) -> list[Promise]:
    until = record.statuses(until_s=ends_s - EDGE_S)
    # "unsent": on a fast machine all connections of the client may wait after their refusal.
    answered = record.others("none", "503", "unsent", since_s=ends_s + SIGNAL_S)
    refused_s = [one.failed_s - one.due_s for one in record.failures if one.due_s > ends_s]
    return [
        Promise(f"{name}: lost before the notice ended", record.others("200", "429", until_s=ends_s - EDGE_S), 0),
        Promise(f"{name}: rejected before the notice ended", until.get("429", 0), 0),
        Promise(f"{name}: accepted after the notice ended", answered, 0),
        Promise(f"{name}: longest time until a refused connection, s", max(refused_s, default=0), REFUSED_S),
    ]


def by_phase(record: Record, told_s: float, ends_s: float) -> dict[str, object]:
    return {
        "before": record.statuses(until_s=told_s),
        "during_the_notice": record.statuses(told_s, ends_s - EDGE_S),
        "as_it_ended": record.statuses(ends_s - EDGE_S, ends_s + SIGNAL_S),
        "after": record.statuses(ends_s + SIGNAL_S),
        "under_way_at_the_signal": record.under_way(told_s),
        "under_way_as_the_notice_ended": record.under_way(ends_s),
        "failures": record.reasons(),
    }


def text_batch(bench: Bench) -> bytes:
    texts = samples(bench.models / "text")
    repeated = [texts[index % len(texts)] for index in range(BATCH_TEXTS)]
    return post("/classify_texts", "application/json", msgspec.json.encode({"texts": repeated}))


def await_exit(process: "subprocess.Popen[bytes]") -> tuple[float, int]:
    """Return the time of the exit, and the exit status, -9 if the process had to be killed."""
    try:
        process.wait(2 * EXIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
    return now(), process.wait()
