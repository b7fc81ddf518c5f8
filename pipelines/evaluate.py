from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.config import TASK_NAMES, TaskName, flatten, load_params
from relu_pipeline.evaluation.evaluate import evaluate as evaluate_checkpoint
from relu_pipeline.health.pictures import draw_health
from relu_pipeline.health.record import read_rows
from relu_pipeline.provenance import git_commit
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.mlflow_run import reopen_run


def evaluate(task: TaskName) -> None:
    config, reports = load_params().evaluate, artifacts.reports_dir(task)
    checkpoint, prepared = artifacts.checkpoints_dir(task) / artifacts.CHECKPOINT, artifacts.prepared_dir(task)
    with reopen_run(artifacts.sha256_of(checkpoint), task, git_commit(), f"evaluate@{task}") as mlflow_run:
        mlflow_run.log_params(flatten({"evaluate": config.model_dump()}))
        draw_health(read_rows(reports / artifacts.HEALTH), reports / artifacts.HEALTH_MAP)
        mlflow_run.log_files([reports / artifacts.HEALTH_MAP], "training")
        metrics = evaluate_checkpoint(TASKS[task], checkpoint, prepared, config, mlflow_run, reports)
    print(f"{task}: test accuracy {metrics.accuracy:.4f}, macro F1 {metrics.f1_macro:.4f}")


if __name__ == "__main__":
    run(evaluate, TASK_NAMES)
