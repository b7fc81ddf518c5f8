"""The service against other frameworks and a practical upper bound, with the same graphs, contents, client and cores.

`python -m benchmarks.serve [--rounds 5] [--seconds 2] [--sides ours starlette ...]` after `dvc repro`; needs wrk
"""

import argparse
import io
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.peers.serving.launch import ServerError
from benchmarks.peers.serving.measure import BATCH, BATCH_CONNECTIONS, CONNECTIONS, Material, bare_loop, gather, measure
from benchmarks.peers.serving.sides import BEHIND_NGINX, FURTHER, LIMIT, OURS, PEERS, SIDES, Side, packages_of
from benchmarks.report import spread, write
from relu_pipeline import artifacts
from relu_pipeline.config import TASK_NAMES, TaskName, load_params
from relu_pipeline.data.formats import read_raw
from relu_pipeline.data.splits import stratified_split

LOOP = "session.run"
FIGURES = ("requests_per_s", "p50_ms", "p99_ms", "max_ms", "cpu_ms")
BOUNDS = ("median", "min", "max")
NOTE = (
    "one server runs at a time, restarted for each round and task; wrk runs on the same cores; contents are from the "
    "validation split; before a side is timed, its predictions are compared with those of the graph"
)

Rounds = Mapping[str, Sequence[Mapping[str, Any]]]  # results of `measure` by side, round and task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="duration of each measurement")
    parser.add_argument("--sides", nargs="+", choices=[*SIDES, *FURTHER], default=list(SIDES), metavar="SIDE")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("error: wrk is not installed: `apt-get install wrk`")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stops the servers, too
    sides = {name: (SIDES | FURTHER)[name] for name in arguments.sides}
    packages = {name: packages_of(side) for name, side in sides.items()}
    busy_percent = psutil.cpu_percent(1)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            rounds = run_rounds(sides, prepare(Path(scratch)), arguments.rounds, arguments.seconds)
        except ServerError as error:
            sys.exit(f"error: {error}")
    settings = {name: asdict(side) | {"installed": packages[name]} for name, side in sides.items()}
    summary = summarise(rounds)
    context = {"note": NOTE, "busy_before_percent": busy_percent, "seconds": arguments.seconds, "sides": settings}
    name = "serve" if list(sides) == list(SIDES) else "_".join(("serve", *sides))
    path = write(name, context | {"summary": summary, "rounds": rounds})
    print(*tables(summary), "", path, sep="\n")


def prepare(scratch: Path) -> Material:
    """Return validation examples, and the models with disabled int8 graphs, so that all sides run the same graphs."""
    models = scratch / "models"
    shutil.copytree(artifacts.models_dir("image").parent, models)
    for path in models.glob(f"*/{artifacts.MANIFEST}"):
        manifest = json.loads(path.read_text())
        manifest["int8"]["refused"] = "all sides are to run the same graph"
        path.write_text(json.dumps(manifest))
    images = np.load(artifacts.prepared_dir("image") / "val_images.npy", mmap_mode="r")[:BATCH]
    texts = validation_texts(artifacts.raw_dir("text"))
    return gather(models, {"image": [png(pixels) for pixels in images], "text": list(islice(texts, BATCH))})


def png(pixels_HWC: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels_HWC).save(content, "PNG")
    return content.getvalue()


def validation_texts(raw: Path) -> Iterator[str]:
    texts, labels = read_raw(raw, "train")
    _, rows = stratified_split(labels, load_params().text.prepare.val_fraction)
    return (texts[row] for row in rows)


def run_rounds(sides: Mapping[str, Side], material: Material, count: int, seconds: int) -> Rounds:
    """Measure all sides in each round. Raises ServerError."""
    rounds: dict[str, list[dict[str, Any]]] = {name: [{} for _ in range(count)] for name in (*sides, LOOP)}
    for number in range(count):
        for task in TASK_NAMES:
            for name in list(sides)[:: -1 if number % 2 else 1]:  # each round reverses the order
                found = rounds[name][number][task] = measure(sides[name], task, material, seconds)
                rates = {load: round(figures["requests_per_s"]) for load, figures in found["loads"].items()}
                print(f"round {number + 1}, {task}, {name}: ready in {found['start_s']:.1f} s, {rates}", flush=True)
            rounds[LOOP][number][task] = bare_loop(task, material, seconds)
    return rounds


def summarise(rounds: Rounds) -> dict[str, Any]:
    return {"goals": goals(rounds), "loads": by_load(rounds), "servers": weights(rounds)}


def by_load(rounds: Rounds) -> dict[str, dict[str, dict[str, Any]]]:
    """Return requests per second, latencies and CPU time per request, by load and side."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for side in servers(rounds):
        for load in loads_of(rounds, side):
            figures = {name: spread(series(rounds, side, load, name)) for name in FIGURES}
            found.setdefault(load, {})[side] = figures
    return found


def weights(rounds: Rounds) -> dict[str, dict[str, Any]]:
    """Return the seconds until ready and the MiB of the largest process, by side."""
    found = {}
    for side in servers(rounds):
        runs = [figures for of_round in rounds[side] for figures in of_round.values()]
        memory = {name: spread([run["memory"][0][name] for run in runs]) for name in ("rss_mb", "uss_mb")}
        found[side] = {"start_s": spread([run["start_s"] for run in runs])} | memory
    return found


def servers(rounds: Rounds) -> list[str]:
    return [side for side in rounds if side != LOOP]


def loads_of(rounds: Rounds, side: str) -> list[str]:
    return [load for figures in rounds[side][0].values() for load in figures["loads"]]


def series(rounds: Rounds, side: str, load: str, name: str) -> list[float]:
    """Return the values by round."""
    found = [figures["loads"] for of_round in rounds[side] for figures in of_round.values()]
    return [loads[load][name] for loads in found if load in loads]


def goals(rounds: Rounds) -> list[dict[str, Any]]:
    """Return the targets of the service and their results, with ratios by round; empty unless all of `SIDES` ran."""
    if not SIDES.keys() <= rounds.keys():
        return []
    found = []
    for task in TASK_NAMES:
        for count in CONNECTIONS:
            best = best_peer(rounds, f"{task} x{count}", "requests_per_s", max)
            found.append(compare(rounds, OURS, best, f"{task} x{count}", "requests_per_s", ">=", 1.3))
            found.append(compare(rounds, OURS, LIMIT, f"{task} x{count}", "requests_per_s", ">=", 0.85))
            found.append(compare(rounds, BEHIND_NGINX, OURS, f"{task} x{count}", "requests_per_s"))
        best = best_peer(rounds, f"{task} x8", "p99_ms", min)
        found.append(compare(rounds, OURS, best, f"{task} x8", "p99_ms", "<=", 1.0))
        for count in BATCH_CONNECTIONS:
            found.append(compare_batches(rounds, task, count))
    found.append(judge("seconds until ready", weights(rounds)[OURS]["start_s"]["all"], "<=", 4))
    found.append(judge("MiB of the largest process", weights(rounds)[OURS]["rss_mb"]["all"], "<=", 350))
    return found


def best_peer(rounds: Rounds, load: str, name: str, best: Callable[..., str]) -> str:
    return best(PEERS, key=lambda side: median(series(rounds, side, load, name)))


def compare(
    rounds: Rounds, side: str, other: str, load: str, name: str, sign: str = "", bound: float = 0.0
) -> dict[str, Any]:
    """Return a target for the ratio of `side` to `other`, by round."""
    ours, theirs = (series(rounds, one, load, name) for one in (side, other))
    ratios = [mine / its for mine, its in zip(ours, theirs, strict=True)]
    return judge(f"{load}: {name} of {side} against {other}", ratios, sign, bound)


def compare_batches(rounds: Rounds, task: TaskName, connections: int) -> dict[str, Any]:
    """Return the target for the throughput of the batch endpoint, relative to a loop of decoding and inference."""
    rates = series(rounds, OURS, f"{task}_batch x{connections}", "requests_per_s")
    loops = [figures[task]["read_and_run"] for figures in rounds[LOOP]]
    ratios = [BATCH * rate / loop for rate, loop in zip(rates, loops, strict=True)]
    goal = judge(f"{task}_batch x{connections}: items/s against a loop of read and run", ratios, ">=", 0.8)
    return goal | {"wanted": ">= 0.8 in each round", "met": min(ratios) >= 0.8}


def judge(what: str, values: Sequence[float], sign: str = "", bound: float = 0.0) -> dict[str, Any]:
    """Return whether the median meets the bound; without a sign there is no bound."""
    middle = median(values)
    met = {">=": middle >= bound, "<=": middle <= bound, "": True}[sign]
    return {"what": what, "found": spread(values), "wanted": f"{sign} {bound}" if sign else "stated", "met": met}


def tables(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield Markdown tables: requests per second, p99 and CPU time by load and side, servers, targets."""
    sides = list(summary["servers"])
    for name, title in (("requests_per_s", "requests/s"), ("p99_ms", "p99, ms"), ("cpu_ms", "processor time, ms")):
        yield from ("", row(title, *sides), row(*["---"] * (1 + len(sides))))
        for load, figures in summary["loads"].items():
            yield row(load, *(shown(figures[side][name]) if side in figures else "" for side in sides))
    yield from ("", row("server", *sides), row(*["---"] * (1 + len(sides))))
    for name in ("start_s", "rss_mb", "uss_mb"):
        yield row(name, *(shown(summary["servers"][side][name]) for side in sides))
    if summary["goals"]:
        yield from ("", row("goal", "wanted", "found", "met"), row(*["---"] * 4))
    for goal in summary["goals"]:
        yield row(goal["what"], goal["wanted"], shown(goal["found"]), "yes" if goal["met"] else "no")


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def shown(found: Mapping[str, Any]) -> str:
    """Return the median (minimum to maximum) with three significant digits."""
    middle, low, high = (f"{found[name]:.3g}" if found[name] < 100 else f"{found[name]:.0f}" for name in BOUNDS)
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
