from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.config import TASK_NAMES, TaskName, flatten, load_params
from relu_pipeline.export.export import export as export_checkpoint
from relu_pipeline.provenance import git_commit
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.mlflow_run import reopen_run


def export(task: TaskName) -> None:
    params, models = load_params(), artifacts.models_dir(task)
    checkpoint = artifacts.checkpoints_dir(task) / artifacts.CHECKPOINT
    with reopen_run(artifacts.sha256_of(checkpoint), task, git_commit(), f"export@{task}") as mlflow_run:
        mlflow_run.log_params(flatten({"export": params.export.model_dump()}))
        manifest = export_checkpoint(
            TASKS[task],
            checkpoint,
            artifacts.reports_dir(task),
            artifacts.prepared_dir(task),
            params,
            mlflow_run,
            models,
        )
    print(f"{task}: {manifest.name} version {manifest.version}, {models / artifacts.ONNX_MODEL}")


if __name__ == "__main__":
    run(export, TASK_NAMES)
