"""Short runs of benchmarks/reliability against a real service: they check what may never happen, not how fast it is."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from benchmarks.reliability import crash, drain, overload, slow, soak, swap
from benchmarks.reliability.__main__ import plain
from benchmarks.reliability.bench import Bench, Outcome, on_cores, serve
from tests.servers import copy_project

CALM_S = 1.0
REPLACED_S = 20.0  # BentoML looks for dead workers every ten seconds

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.fixture(scope="module")
def bench(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    project = copy_project(tmp_path_factory.mktemp("reliability") / "project", deadline_s=2.0)
    with serve(models, project) as bench:
        yield bench


def broken(outcome: Outcome) -> list[str]:
    """Return what happened and never may. Some requests may be rejected: on a busy machine they are sent in bursts."""
    may = ("rejected", "not sent")
    never = [one for one in outcome.promises if one.limit == 0 and not any(word in one.what for word in may)]
    assert never
    return [f"{promise.what}: {promise.found:g}" for promise in never if not promise.kept]


def test_overload_is_refused_with_429_and_the_rest_is_answered(models: Path) -> None:
    two_cores = sorted(os.sched_getaffinity(0))[:2]
    with on_cores(two_cores), serve(models, apart=True) as bench:
        assert len(bench.server.workers()) == 1
        outcome = uvloop.run(overload.measure(bench, "text", seconds=4.0, calm_s=CALM_S))
    assert broken(outcome) == []
    assert {"200", "429"} <= set(outcome.figures["overloaded"]["statuses"])


def test_slow_bodies_end_at_the_deadline_and_slow_clients_delay_no_other(bench: Bench) -> None:
    """Without nginx, which closes the connections of clients that do not even send a head."""
    outcome = uvloop.run(slow.measure(bench, clients=30, calm_s=CALM_S))
    assert broken(outcome) == []
    times = outcome.figures["open_s"]["dripping bodies"]
    assert bench.settings.deadline_s / 2 < times["min"] <= times["max"] < 2 * bench.settings.deadline_s


def test_nothing_is_written_or_left_open_under_load(bench: Bench) -> None:
    outcome = uvloop.run(soak.measure(bench, seconds=4.0, warm_up_s=2.0, calm_s=CALM_S))
    assert broken(outcome) == []
    assert json.loads(json.dumps(plain({"soak": outcome})))["soak"]["promises"]


def test_new_models_are_served_and_broken_ones_refused_under_load(bench: Bench) -> None:
    outcome = uvloop.run(swap.measure(bench, "text", calm_s=CALM_S))
    assert broken(outcome) == []
    assert len(outcome.figures["answers"]) == 2


def test_a_killed_worker_loses_only_what_it_was_answering_and_is_replaced(bench: Bench) -> None:
    outcome = uvloop.run(crash.measure(bench, calm_s=CALM_S, settle_s=1.0))
    assert broken(outcome) == []
    assert outcome.figures["new_worker_answers_after_s"] < REPLACED_S


def test_a_shutdown_loses_no_request_and_readyz_announces_it(models: Path) -> None:
    with serve(models) as bench:
        outcome = uvloop.run(drain.measure(bench, calm_s=CALM_S))
    assert broken(outcome) == []
    assert outcome.figures["readyz"]["during_the_notice"]["503"] > 0
    assert outcome.figures["exit_s"] < drain.EXIT_S
