import os
from pathlib import Path

from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.config import TASK_NAMES, TaskName, load_params
from relu_pipeline.data.sources import obtain


def download(task: TaskName) -> None:
    mirror, params = os.environ.get("RELU_DATA_MIRROR"), load_params()
    source = obtain(
        task,
        params.tasks[task],
        getattr(params, task).data,
        Path(mirror) if mirror else None,
        artifacts.raw_dir(task),
    )
    rows = ", ".join(f"{rows:,} {split}" for split, rows in source.rows.items())
    print(f"{source.name} ({source.source}): {rows} examples of {len(source.labels)} classes")


if __name__ == "__main__":
    run(download, TASK_NAMES)
