"""CIFAR-10 on one GPU: training time and accuracy of the recipe `gpu`, against airbench94 on the same card.

`python -m benchmarks.gpu [--seeds 10] [--airbench FOLDER]`, on the data of `relu-pipeline recipe gpu` and
`dvc repro prepare@image`. FOLDER is a checkout of github.com/KellerJordan/cifar10-airbench. Both sides train once
before the times are taken, since the first training of a process loads the libraries. Our times include the copy of the
images to the GPU, the evaluation of each epoch, its checkpoints, the log and the calibration; airbench's do not.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.ours import train_once
from benchmarks.report import run_side, spread, write
from relu_pipeline import artifacts
from relu_pipeline.artifacts import PreparedMeta
from relu_pipeline.config import load_params
from relu_pipeline.data.images import ImageSplit

SCRIPTS = ("legacy/airbench94.py", "airbench94_muon.py")
WARM_UP_SEED = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--airbench", type=Path)
    arguments = parser.parse_args()
    params = load_params()
    first = train_once("image", params, WARM_UP_SEED)
    runs = [train_once("image", params, seed) for seed in range(arguments.seeds)]
    figures = {"first_train_s": first["train_s"]} | {
        name: averaged([run[name] for run in runs])
        for name in ("train_s", "test_accuracy", "test_accuracy_with_flipping")
    }
    print(f"recipe gpu: {figures}", flush=True)
    peers = {}
    for script in SCRIPTS if arguments.airbench else ():
        peers[script] = airbench(arguments.airbench.resolve() / script, arguments.seeds)
        print(f"{script}: {peers[script]}", flush=True)
    print(write("gpu", {"recipe": figures, "peers": peers, "runs": runs}))


def averaged(values: list[float]) -> dict[str, Any]:
    return {"mean": mean(values)} | spread(values)


def airbench(script: Path, runs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        write_airbench_data(Path(folder) / "cifar10")
        side = run_side(["-m", "benchmarks.peers.airbench", str(script), str(runs), folder])
    return {name: averaged(values) for name, values in side.items()}


def write_airbench_data(folder: Path) -> None:
    """Write the prepared images in airbench's own form; it trains on the validation split as well."""
    folder.mkdir()
    prepared = artifacts.prepared_dir("image")
    classes = artifacts.read(prepared / artifacts.META, PreparedMeta).source.labels
    for name, splits in {"train": ("train", "val"), "test": ("test",)}.items():
        parts = [ImageSplit.load(prepared, split) for split in splits]
        images = torch.cat([part.images_BHWC for part in parts])
        labels = torch.cat([part.labels for part in parts])
        torch.save({"images": images, "labels": labels, "classes": classes}, folder / f"{name}.pt")


if __name__ == "__main__":
    main()
