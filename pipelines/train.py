from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.artifacts import RunInfo
from relu_pipeline.config import TASKS, Task, load_params
from relu_pipeline.provenance import git_commit
from relu_pipeline.tracking import flatten, start_run
from relu_pipeline.training.fit import fit, write_history


def train(task: Task) -> None:
    params = load_params()
    config, models = getattr(params, task), artifacts.models_dir(task)
    commit = git_commit()
    with start_run(task, commit, stage=f"train@{task}") as mlflow_run:
        mlflow_run.log_params(flatten({"seed": params.seed} | config.model_dump()))
        fitted = fit(task, config, params.seed, artifacts.prepared_dir(task), mlflow_run, models / artifacts.CHECKPOINT)
        write_history(artifacts.reports_dir(task) / artifacts.HISTORY, fitted.history)
        artifacts.write(models / artifacts.RUN, RunInfo(run_id=mlflow_run.run_id, git_commit=commit))
    print(f"{task}: best validation accuracy {fitted.val_accuracy:.4f}")


if __name__ == "__main__":
    run(train, TASKS)
