"""Kill `dvc repro` at random times on the demo data, and compare its outputs with those of an uninterrupted run.

`python -m benchmarks.resume [--kills 10] [--seed 0]`
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import write
from relu_pipeline import artifacts
from relu_pipeline.config import TASK_NAMES
from relu_pipeline.demo import FOREIGN, copy_project
from relu_pipeline.recipes import apply_recipe

REPRO = [sys.executable, "-m", "dvc", "repro", "--quiet"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN}
DELAYS_S = (4.0, 13.0)
ALIKE = (artifacts.CHECKPOINT, artifacts.ONNX_MODEL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as scratch:
        whole, killed = (demo_copy(Path(scratch) / name) for name in ("whole", "killed"))
        took_s = repro_s(whole)
        kills = [killed_after(moments.uniform(*DELAYS_S), killed) for _ in range(arguments.kills)]
        repro_s(killed)
        expected, found = digests(whole), digests(killed)
    figures = {"repro_s": took_s, "kills": kills, "uninterrupted": expected, "killed": found}
    print(f"{write('resume', figures)}: {len(kills)} kills, in {', '.join(kill['during'] for kill in kills)}")
    if found != expected:
        sys.exit("error: the outputs differ from those of an uninterrupted `dvc repro`")


def demo_copy(project: Path) -> Path:
    copy_project(Path(), project)
    apply_recipe(project / "configs/demo.yaml", project / "params.yaml")
    apply_recipe(Path("benchmarks/resume.yaml"), project / "params.yaml")
    return project


def repro_s(project: Path) -> float:
    started = time.monotonic()
    subprocess.run(REPRO, cwd=project, env=ENVIRONMENT, check=True)
    return time.monotonic() - started


def killed_after(delay_s: float, project: Path) -> dict[str, float | str]:
    run = subprocess.Popen(REPRO, cwd=project, env=ENVIRONMENT, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        run.wait(delay_s)
    except subprocess.TimeoutExpired:
        stage = running_stage(run.pid)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        return {"after_s": delay_s, "during": stage}
    return {"after_s": delay_s, "during": "nothing, it had finished"}


def running_stage(group: int) -> str:
    listed = subprocess.run(["ps", "-o", "args=", "-g", str(group)], capture_output=True, text=True, check=False).stdout
    stages = [line.partition("pipelines.")[2] for line in listed.splitlines() if "-m pipelines." in line]
    return stages[-1] if stages else "dvc"


def digests(project: Path) -> dict[str, str]:
    folders = [(artifacts.checkpoints_dir(task), artifacts.models_dir(task)) for task in TASK_NAMES]
    files = [project / folder / name for pair in folders for folder, name in zip(pair, ALIKE, strict=True)]
    return {str(file.relative_to(project)): artifacts.sha256_of(file) for file in files}


if __name__ == "__main__":
    main()
