from functools import partial

from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.config import TASK_NAMES, TaskName, flatten
from relu_pipeline.drift.detection import report_drift
from relu_pipeline.provenance import git_commit
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.mlflow_run import reopen_run
from serving.drift import DriftMonitor
from serving.settings import load_settings


def drift(task: TaskName) -> None:
    settings = load_settings().drift.model_dump()
    checkpoint = artifacts.checkpoints_dir(task) / artifacts.CHECKPOINT
    with reopen_run(artifacts.sha256_of(checkpoint), task, git_commit(), f"drift@{task}") as mlflow_run:
        mlflow_run.log_params(flatten({"drift": settings}))
        rows = report_drift(
            TASKS[task],
            checkpoint,
            artifacts.prepared_dir(task),
            partial(DriftMonitor, **settings),
            mlflow_run,
            artifacts.reports_dir(task),
        )
    print(f"{task}: AUROC of single examples: " + ", ".join(f"{row.shift} {row.auroc_combined:.2f}" for row in rows))


if __name__ == "__main__":
    run(drift, TASK_NAMES)
