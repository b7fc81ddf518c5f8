from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.artifacts import RunInfo
from relu_pipeline.config import TASK_NAMES, TaskName, load_params
from relu_pipeline.export.export import export as export_checkpoint
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.mlflow_run import reopen_run


def export(task: TaskName) -> None:
    config, checkpoints, models = load_params().export, artifacts.checkpoints_dir(task), artifacts.models_dir(task)
    run_id = artifacts.read(checkpoints / artifacts.RUN, RunInfo).run_id
    with reopen_run(run_id, task) as mlflow_run:
        manifest = export_checkpoint(
            TASKS[task],
            checkpoints,
            artifacts.reports_dir(task),
            artifacts.prepared_dir(task),
            config,
            mlflow_run,
            models,
        )
    print(f"{task}: {manifest.name} version {manifest.version}, {models / artifacts.ONNX_MODEL}")


if __name__ == "__main__":
    run(export, TASK_NAMES)
