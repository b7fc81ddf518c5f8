from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.artifacts import Unreadable
from relu_pipeline.config import TASK_NAMES, TaskName, load_params
from relu_pipeline.data.prepare import PREPARERS


def prepare(task: TaskName) -> None:
    config = getattr(load_params(), task).prepare
    unreadable = artifacts.read(artifacts.unreadable_file(task), Unreadable).rows
    meta = PREPARERS[task](artifacts.raw_dir(task), config, artifacts.prepared_dir(task), unreadable)
    print(f"{task}: " + ", ".join(f"{rows:,} {split}" for split, rows in meta.rows.items()) + " examples")


if __name__ == "__main__":
    run(prepare, TASK_NAMES)
