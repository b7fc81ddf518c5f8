"""The same training in one process with all cores and in two with half of them each; after `dvc repro prepare`.

`python -m benchmarks.processes [--rounds 3]` trains CIFAR-10 with the recipe `quick`, in copies of the project.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.report import spread, write
from relu_pipeline import artifacts
from relu_pipeline.demo import FOREIGN, copy_project
from relu_pipeline.params_file import edited, put
from relu_pipeline.recipes import apply_recipe, recipe_path

PROCESSES = (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    runs: dict[int, list[dict[str, float]]] = {count: [] for count in PROCESSES}
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "project"
        copy_project(Path(), project)
        apply_recipe(recipe_path("quick"), project / "params.yaml")
        shutil.copytree(artifacts.prepared_dir("image"), project / artifacts.prepared_dir("image"))
        for number in range(rounds):
            # Each round reverses the order.
            for count in sorted(PROCESSES, reverse=number % 2 == 1):
                runs[count].append(train(project, count))
    pairs = zip(runs[1], runs[2], strict=True)
    figures = {
        str(count): {name: spread([run[name] for run in of_count]) for name in of_count[0]}
        for count, of_count in runs.items()
    }
    figures["epoch_ratio"] = spread([one["epoch_s"] / two["epoch_s"] for one, two in pairs])
    print(f"{write('processes', figures)}: {figures}")


def train(project: Path, processes: int) -> dict[str, float]:
    """Return seconds of the whole command and of a later epoch, and the validation accuracy."""
    with edited(project / "params.yaml", "devices") as params:
        put(params["image"]["train"], "devices", processes)
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    environment["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(0)) // processes)
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipelines.train", "image"], cwd=project, env=environment, check=True)
    seconds = time.perf_counter() - started
    with (project / artifacts.reports_dir("image") / artifacts.HISTORY).open() as file:
        epochs = list(csv.DictReader(file))
    return {
        "command_s": seconds,
        "epoch_s": median(float(epoch["seconds"]) for epoch in epochs[1:]),
        "val_accuracy": float(epochs[-1]["val/accuracy"]),
    }


if __name__ == "__main__":
    main()
