"""Own images: test accuracy and training time over random splits into 80 % training and 20 % test images.

`python -m benchmarks.folder FOLDER [--splits 3]`; FOLDER has a folder for each class.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from sklearn.model_selection import train_test_split

from benchmarks.ours import accuracy
from benchmarks.report import spread, write
from relu_pipeline.config import load_params
from relu_pipeline.data.prepare import prepare_images
from relu_pipeline.data.sources import obtain
from relu_pipeline.evaluation.predict import predict
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import NullRun
from relu_pipeline.training.fit import fit
from relu_pipeline.training.plan import plan
from relu_pipeline.training.resume import open_state

TEST_FRACTION = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--splits", type=int, default=3)
    arguments = parser.parse_args()
    runs = []
    for seed in range(arguments.splits):
        with tempfile.TemporaryDirectory() as scratch:
            link_split(arguments.folder.resolve(), seed, Path(scratch) / "images")
            runs.append(train_and_test(Path(scratch), seed))
        print(runs[-1], flush=True)
    summary = {name: spread([run[name] for run in runs]) for name in runs[0]}
    mean = sum(run["test_accuracy"] for run in runs) / len(runs)
    path = write(f"folder_{arguments.folder.name}", {"mean_test_accuracy": mean, "summary": summary, "runs": runs})
    print(f"{path}: mean test accuracy {mean:.4f}; {summary}")


def link_split(folder: Path, seed: int, out: Path) -> None:
    """Write train/ and test/ with links to the images, stratified by class."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    labels = [path.parent.name for path in files]
    parts = train_test_split(files, test_size=TEST_FRACTION, random_state=seed, stratify=labels)
    for split, part in zip(("train", "test"), parts, strict=True):
        for path in part:
            target = out / split / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)


def train_and_test(scratch: Path, seed: int) -> dict[str, Any]:
    params, task = load_params(), TASKS["image"]
    raw, prepared, out = (scratch / name for name in ("raw", "prepared", "out"))
    obtain("image", str(scratch / "images"), params.image.data, None, raw)
    prepare_images(raw, params.image.prepare, prepared)
    begun_s = time.perf_counter()
    training = plan(task, params.image, params.health, seed, prepared)
    fit(training, NullRun(), open_state(out / "training", training.key), out / "best.ckpt")
    train_s = time.perf_counter() - begun_s
    test = task.load(prepared, "test")
    return {"train_s": train_s, "test_accuracy": accuracy(predict(load_network(out / "best.ckpt"), test), test.labels)}


if __name__ == "__main__":
    main()
