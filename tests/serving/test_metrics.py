"""The metrics of one process, and of all workers through the folder that they share."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from serving.drift import Drift
from serving.metrics import REQUEST_DURATION, add_zero_fractions, count_from_zero, forget_drift, render, show_model
from serving.schemas import ModelVersion
from serving.settings import load_settings

TASK = "a task of test_metrics"
LAYERS = ["first", "second"]
TOO_FEW = Drift(None, 0.2, 500, 0, None, None, None)


def value(metric: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric, labels)


def zero_fractions() -> list[float]:
    names = ("relu_zero_fraction_total", "relu_zero_fraction_examples_total")
    return [value(name, task=TASK, layer=layer) or 0.0 for name in names for layer in LAYERS]


@given(st.lists(st.tuples(st.integers(1, 100), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=9))
def test_zero_fractions_add_up_to_their_mean_over_all_examples(batches: list[tuple[int, float, float]]) -> None:
    before = zero_fractions()
    for examples, *means in batches:
        sums = {layer: examples * mean for layer, mean in zip(LAYERS, means, strict=True)}
        add_zero_fractions(TASK, sums, examples, TOO_FEW)
    *sums_found, first, second = (after - start for after, start in zip(zero_fractions(), before, strict=True))
    assert first == second == sum(examples for examples, *_ in batches)
    expected = [sum(examples * means[index] for examples, *means in batches) for index in range(2)]
    assert sums_found == pytest.approx(expected)


def test_drift_appears_with_its_first_value_and_is_0_for_a_new_model() -> None:
    def drift() -> list[float | None]:
        return [value(name, task="drifting") for name in ("relu_drift", "relu_drift_raised")]

    add_zero_fractions("drifting", {"first": 1.0}, 2, TOO_FEW)
    assert drift() == [None, None]
    add_zero_fractions("drifting", {"first": 1.0}, 2, Drift(0.1, 0.2, 4, 4, None, {"first": 0.1}, None))
    assert drift() == [0.1, 0]
    add_zero_fractions(
        "drifting", {"first": 1.0}, 2, Drift(0.3, 0.2, 4, 6, "2026-01-01T00:00:00+00:00", {"first": 0.3}, None)
    )
    assert drift() == [0.3, 1]
    forget_drift("drifting")
    assert drift() == [0, 0]


def test_a_model_is_shown_as_1_while_it_is_served() -> None:
    version = ModelVersion(name="a name", version="a version", sha256="0" * 64)
    labels = version.model_dump() | {"task": TASK, "precision": "int8"}
    for served in (True, False):
        show_model(TASK, version, "int8", served)
        assert value("relu_model_info", **labels) == served


def test_reloads_are_there_before_the_first_one() -> None:
    results = {result: value("relu_reloads_total", task="new", result=result) for result in ("ok", "refused")}
    assert results == {"ok": None, "refused": None}
    count_from_zero("new")
    assert [value("relu_reloads_total", task="new", result=result) for result in results] == [0, 0]


def test_one_process_shows_its_own_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    count_from_zero(TASK)
    families = {family.name for family in text_string_to_metric_families(render().decode())}
    assert "relu_reloads" in families


WORKER = """
import sys
from serving import metrics
from serving.drift import Drift
number = int(sys.argv[1])
metrics.REQUESTS_IN_FLIGHT.set(3)
metrics.QUEUE_DEPTH.labels("text").set(5)
metrics.REQUESTS.labels("/classify_text", 200).inc()
metrics.REQUEST_DURATION.labels("/classify_text").observe(0.01)
metrics.REJECTED_REQUESTS.labels("overloaded").inc()
metrics.BATCH_SIZE.labels("text").observe(2)
metrics.RELOADS.labels("text", "ok").inc()
drift = Drift(float(number), 0.2, 1, 1, "2026-01-01T00:00:00+00:00" if number else None, {}, None)
metrics.add_zero_fractions("text", {"first": 0.5}, 2, drift)
print("ready", flush=True)
sys.stdin.readline()
"""
RENDER = "from serving import metrics; print(metrics.render().decode())"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """What another process shows while two workers run, and after the one with more drift was killed."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path_factory.mktemp("metrics"))}

    def show() -> dict[str, float]:
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
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(number)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(2)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
        alive = show()
        workers[1].kill()
        workers[1].wait()
        return [alive, show()]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_what_all_workers_counted_is_added_up_and_kept_when_one_has_died(shown: list[dict[str, float]]) -> None:
    for found in shown:
        counted = ("requests_total", "rejected_requests_total", "reloads_total", "request_duration_seconds_count")
        assert {name: found[f"relu_{name}"] for name in counted} == dict.fromkeys(counted, 2)
        assert found["relu_request_duration_seconds_sum"] == pytest.approx(0.02)
        assert (found["relu_batch_size_sum"], found["relu_batch_size_count"]) == (4, 2)
        assert (found["relu_zero_fraction_total"], found["relu_zero_fraction_examples_total"]) == (1, 4)


def test_gauges_are_of_live_workers_alone(shown: list[dict[str, float]]) -> None:
    alive, after = shown
    assert (alive["relu_requests_in_flight"], after["relu_requests_in_flight"]) == (6, 3)
    assert (alive["relu_queue_depth"], after["relu_queue_depth"]) == (10, 5)


def test_the_drift_is_that_of_the_live_worker_that_drifts_most(shown: list[dict[str, float]]) -> None:
    alive, after = shown
    assert (alive["relu_drift"], after["relu_drift"]) == (1, 0)
    assert (alive["relu_drift_raised"], after["relu_drift_raised"]) == (1, 0)


def test_durations_are_told_apart_at_the_deadline_and_at_the_limit_of_the_alert() -> None:
    REQUEST_DURATION.labels(TASK).observe(1)
    (family,) = REQUEST_DURATION.collect()
    bounds = {float(sample.labels["le"]) for sample in family.samples if "le" in sample.labels}
    assert {0.25, load_settings().deadline_s} < bounds
