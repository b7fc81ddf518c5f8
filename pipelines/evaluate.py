from functools import partial

from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.artifacts import RunInfo
from relu_pipeline.config import TASK_NAMES, TaskName, load_params
from relu_pipeline.evaluation.drift import report_drift
from relu_pipeline.evaluation.evaluate import evaluate as evaluate_checkpoint
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.mlflow_run import reopen_run
from serving.drift import DriftMonitor
from serving.settings import load_settings


def evaluate(task: TaskName) -> None:
    config, checkpoints = load_params().evaluate, artifacts.checkpoints_dir(task)
    run_id = artifacts.read(checkpoints / artifacts.RUN, RunInfo).run_id
    with reopen_run(run_id, task) as mlflow_run:
        metrics = evaluate_checkpoint(
            TASKS[task],
            checkpoints / artifacts.CHECKPOINT,
            artifacts.prepared_dir(task),
            config,
            mlflow_run,
            artifacts.reports_dir(task),
        )
        report_drift(
            TASKS[task],
            checkpoints / artifacts.CHECKPOINT,
            artifacts.prepared_dir(task),
            partial(DriftMonitor, **load_settings().drift.model_dump()),
            mlflow_run,
            artifacts.reports_dir(task),
        )
    print(f"{task}: test accuracy {metrics.accuracy:.4f}, macro F1 {metrics.f1_macro:.4f}")


if __name__ == "__main__":
    run(evaluate, TASK_NAMES)
