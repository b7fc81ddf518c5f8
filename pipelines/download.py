import os
from pathlib import Path

from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.config import TASK_NAMES, TaskName, load_params
from relu_pipeline.data.sources import obtain


def download(task: TaskName) -> None:
    mirror = os.environ.get("RELU_DATA_MIRROR")
    source = obtain(task, Path(load_params().tasks[task]), Path(mirror) if mirror else None, artifacts.raw_dir(task))
    print(f"{source.name} ({source.source}): {source.rows['train']:,} training and {source.rows['test']:,} test rows")


if __name__ == "__main__":
    run(download, TASK_NAMES)
