"""Test the service under overload, SIGTERM, `kill -9`, slow clients, long load and hot reload.

`python -m benchmarks.reliability [--only overload drain ...] [--seconds 60] [--soak-seconds 600]` after `dvc repro`
"""

import argparse
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import onnxruntime
import psutil
import uvloop

from benchmarks.reliability import crash, drain, overload, photographs, slow, soak, swap
from benchmarks.reliability.bench import Bench, Outcome, Promise, serve
from benchmarks.report import write
from relu_pipeline.config import TASK_NAMES

MODELS = Path("models")
PACKAGES = ("bentoml", "starlette", "uvicorn", "uvloop", "httptools")
NOTE = (
    "each line has its own service with the settings of configs/serving.yaml; overload and slow clients are tested "
    "behind nginx with deploy/nginx.conf, without its limits by address, and one replica with one worker per core; for "
    "overload the client has the last core and the service the others, else they share all cores; the client sends the "
    "models' samples; latencies are measured from the time when a request was due; capacity is the rate of a closed "
    "loop, unloaded means a tenth of it"
)
CALM_S = 10.0
SETTLE_S = 15.0
SLOW_CLIENTS = 200
SOAK_WARM_UP_S = 60.0


@dataclass(frozen=True)
class Line:
    """Test to run; for `apart` and `behind_nginx` see `bench.serve`."""

    measure: Callable[[Bench], Awaitable[Outcome]]
    apart: bool = False
    behind_nginx: bool = False


def lines(seconds: float, soak_seconds: float) -> dict[str, Line]:
    overloads = {
        f"overload_{task}": Line(
            partial(overload.measure, task=task, seconds=seconds, calm_s=CALM_S), apart=True, behind_nginx=True
        )
        for task in TASK_NAMES
    }
    return overloads | {
        "drain": Line(partial(drain.measure, calm_s=CALM_S)),
        "crash": Line(partial(crash.measure, settle_s=SETTLE_S, calm_s=CALM_S)),
        "slow": Line(partial(slow.measure, clients=SLOW_CLIENTS, calm_s=CALM_S), behind_nginx=True),
        "photographs_200_kb": Line(partial(photographs.measure_beside, size="200 kB", calm_s=CALM_S)),
        "photographs_3_mb": Line(partial(photographs.measure_beside, size="3 MB", calm_s=CALM_S)),
        "photographs_beside_batches": Line(partial(photographs.measure_beside_batches, calm_s=CALM_S)),
        "swap_text": Line(partial(swap.measure, task="text", calm_s=CALM_S)),
        "swap_image": Line(partial(swap.measure, task="image", calm_s=CALM_S)),
        "soak": Line(partial(soak.measure, seconds=soak_seconds, warm_up_s=SOAK_WARM_UP_S, calm_s=CALM_S)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="LINE", help="names of lines, or prefixes of them")
    parser.add_argument("--seconds", type=float, default=60, help="duration of overload")
    parser.add_argument("--soak-seconds", type=float, default=600)
    arguments = parser.parse_args()
    known = lines(arguments.seconds, arguments.soak_seconds)
    chosen = {name: line for name, line in known.items() if name.startswith(tuple(arguments.only or [""]))}
    if not chosen:
        parser.error(f"--only {' '.join(arguments.only)}: no such line; choose from {', '.join(known)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stops the service, too
    busy_percent = psutil.cpu_percent(1)
    outcomes = {name: run(name, line) for name, line in chosen.items()}
    context = {
        "note": NOTE,
        "busy_before_percent": busy_percent,
        "versions": {name: version(name) for name in PACKAGES} | {"onnxruntime": onnxruntime.__version__},
    }
    path = write("_".join(["reliability", *arguments.only]), context | {"lines": plain(outcomes)})
    print("\n".join(table(outcomes)), f"\n{path}")
    broken = [f"{name}: {one.what}" for name, outcome in outcomes.items() for one in outcome.promises if not one.kept]
    if broken:
        sys.exit(f"error: {len(broken)} limits are exceeded: {'; '.join(broken)}")


def run(name: str, line: Line) -> Outcome:
    print(name, flush=True)
    with serve(MODELS, apart=line.apart, behind_nginx=line.behind_nginx) as bench:
        return uvloop.run(line.measure(bench))


def plain(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    return {
        name: {
            "promises": [_finite(asdict(promise) | {"kept": promise.kept}) for promise in outcome.promises],
            "figures": _finite(outcome.figures),
        }
        for name, outcome in outcomes.items()
    }


def _finite(value: Any) -> Any:
    """Return the value with None instead of infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def table(outcomes: Mapping[str, Outcome]) -> list[str]:
    rows = [row(name, promise) for name, outcome in outcomes.items() for promise in outcome.promises]
    return ["| test | measure | value | limit | met |", "| --- | --- | --- | --- | --- |", *rows]


def row(name: str, promise: Promise) -> str:
    return (
        f"| {name} | {promise.what} | {promise.found:.3g} | {promise.limit:g} | {'yes' if promise.kept else '**no**'} |"
    )


if __name__ == "__main__":
    main()
