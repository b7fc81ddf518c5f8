"""Results of a benchmark, with machine and versions, as JSON."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from relu_pipeline import artifacts

RESULTS = Path("benchmarks/results")
PACKAGES = ("torch", "torchvision", "lightning", "mlflow", "numpy", "tokenizers")
NOTE = "hyper-parameters were chosen on the validation split; the test split was read once, at the end"


def run_side(words: Sequence[str], python: str = sys.executable) -> dict[str, Any]:
    """Run `python words...` and return the JSON of its last line; its other lines are printed."""
    done = subprocess.run([python, *words], stdout=subprocess.PIPE, text=True, check=True)
    *lines, last = done.stdout.splitlines()
    print(*lines, sep="\n", end="\n" if lines else "", flush=True)
    return json.loads(last)


def machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": _gpu(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def write(name: str, figures: Mapping[str, Any]) -> Path:
    path = RESULTS / f"{name}.json"
    content = {"benchmark": name, "note": NOTE, "machine": machine()} | dict(figures)
    with artifacts.atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
    return path


def spread(values: Sequence[float]) -> dict[str, Any]:
    return {"median": median(values), "min": min(values), "max": max(values), "all": list(values)}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor()


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
