"""What is counted first and written once a second is what prometheus_client itself would have counted."""

import os
import subprocess
import sys
import threading
from collections import Counter as Count
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from serving.drift import Drift
from serving.metrics import BATCH_ROWS, REQUEST_SECONDS, ROWS, SECONDS, SHARES, DriftMetrics, Tally

UNRAISED = Drift(None, 0.2, 500, 0, None, None)

seconds = st.one_of(st.sampled_from(SECONDS), st.floats(0, 20))  # on the bounds, too


def buckets(registry: CollectorRegistry, **labels: str) -> dict[tuple[str, str], float]:
    """By name and bound."""
    return {
        (sample.name, sample.labels.get("le", "")): sample.value
        for family in registry.collect()
        for sample in family.samples
        if labels.items() <= sample.labels.items() and not sample.name.endswith("_created")
    }


def observed(name: str, bounds: Sequence[float], values: Sequence[float]) -> dict[tuple[str, str], float]:
    registry = CollectorRegistry()
    histogram = Histogram(name, "expected", buckets=bounds, registry=registry)
    for value in values:
        histogram.observe(value)
    return buckets(registry)


def difference(
    after: dict[tuple[str, str], float], before: dict[tuple[str, str], float]
) -> dict[tuple[str, str], float]:
    return {key: value - before.get(key, 0) for key, value in after.items()}


@given(requests=st.lists(st.tuples(st.sampled_from(["/a", "/b"]), st.sampled_from([200, 429]), seconds)))
def test_a_tally_writes_each_request_once(requests: list[tuple[str, int, float]]) -> None:
    def shown() -> dict[tuple[str, str], float]:
        name = "relu_requests_total"
        return {
            (path, str(status)): REGISTRY.get_sample_value(name, {"endpoint": path, "status": str(status)}) or 0.0
            for path in ("/a", "/b")
            for status in (200, 429)
        }

    REQUEST_SECONDS.labels("/a")
    counted, timed = shown(), buckets(REGISTRY, endpoint="/a")
    tally = Tally()
    for request in requests:
        tally.request(*request)
    tally.flush()
    tally.flush()
    expected = Count((path, str(status)) for path, status, _ in requests)
    assert difference(shown(), counted) == {key: expected[key] for key in counted}
    found = difference(buckets(REGISTRY, endpoint="/a"), timed)
    wanted = observed("relu_request_seconds", SECONDS, [taken for path, _, taken in requests if path == "/a"])
    assert {key: found[key] for key in wanted} == pytest.approx(wanted)


@given(rows=st.lists(st.integers(1, 100)))
def test_a_tally_writes_the_rows_of_each_run(rows: list[int]) -> None:
    BATCH_ROWS.labels("of a test")
    before = buckets(REGISTRY, task="of a test")
    tally = Tally()
    for count in rows:
        tally.batch("of a test", count)
    tally.flush()
    found = difference(buckets(REGISTRY, task="of a test"), before)
    wanted = observed("relu_batch_rows", ROWS, rows)
    assert {key: found[key] for key in wanted} == wanted


def test_nothing_is_lost_where_threads_flush_while_requests_are_counted() -> None:
    labels = {"endpoint": "/raced", "status": "200"}
    tally = Tally()
    ended = threading.Event()

    def flush() -> None:
        while not ended.is_set():
            tally.flush()

    flushing = [threading.Thread(target=flush) for _ in range(2)]
    for thread in flushing:
        thread.start()
    for _ in range(20_000):
        tally.request("/raced", 200, 0.001)
    ended.set()
    for thread in flushing:
        thread.join()
    tally.flush()
    assert REGISTRY.get_sample_value("relu_requests_total", labels) == 20_000
    assert REGISTRY.get_sample_value("relu_request_seconds_count", {"endpoint": "/raced"}) == 20_000


@given(
    shares=st.lists(st.one_of(st.sampled_from(SHARES), st.floats(0, 1, width=32)), min_size=1).map(
        lambda column: np.array(column, dtype=np.float32)[:, None]
    )
)
def test_shares_of_zeros_are_counted_as_they_are(shares: np.ndarray) -> None:
    before = buckets(REGISTRY, layer="of a test")
    DriftMetrics("text", ["of a test"]).observe(shares, UNRAISED)
    found = difference(buckets(REGISTRY, layer="of a test"), before)
    wanted = observed("relu_zero_share", SHARES, shares[:, 0].tolist())
    assert {key: found[key] for key in wanted} == pytest.approx(wanted)


WORKER = """
import sys
from serving import metrics
metrics.TALLY.in_flight = 3
metrics.TALLY.request("/classify_text", 200, 0.01)
metrics.TALLY.refusal("overloaded")
metrics.TALLY.flush()
metrics.RELOADS.labels("text", "ok").inc()
print("ready", flush=True)
sys.stdin.readline()
"""
RENDER = "from serving import metrics; print(metrics.render().decode())"


def test_all_workers_are_shown_and_of_the_dead_what_they_did_but_not_what_they_do(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def shown() -> dict[str, float]:
        rendered = subprocess.run(
            [sys.executable, "-c", RENDER], env=environment, capture_output=True, text=True, check=True
        ).stdout
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(rendered)
            for sample in family.samples
            if "le" not in sample.labels
        }

    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
        alive = shown()
        workers[0].kill()
        workers[0].wait()
        after = shown()
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    for found in (alive, after):
        assert found["relu_requests_total"] == found["relu_refusals_total"] == found["relu_reloads_total"] == 2
        assert found["relu_request_seconds_count"] == 2
        assert found["relu_request_seconds_sum"] == pytest.approx(0.02)
    assert (alive["relu_in_flight"], after["relu_in_flight"]) == (6, 3)
