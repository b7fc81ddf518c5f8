from dataclasses import asdict

from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.artifacts import RunInfo
from relu_pipeline.config import TASK_NAMES, TaskName, load_params
from relu_pipeline.provenance import git_commit
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.mlflow_run import start_run
from relu_pipeline.tracking.run import flatten
from relu_pipeline.training.fit import fit, plan
from relu_pipeline.training.report import write_report
from relu_pipeline.training.resume import open_state


def train(task: TaskName) -> None:
    params = load_params()
    checkpoints, commit = artifacts.checkpoints_dir(task), git_commit()
    training = plan(TASKS[task], getattr(params, task), params.health, params.seed, artifacts.prepared_dir(task))
    state = open_state(artifacts.training_dir(task), training.key)
    with start_run(task, commit, stage=f"train@{task}", interrupted=state.run_id) as mlflow_run:
        state.begin(mlflow_run.run_id)
        mlflow_run.log_params(flatten({"seed": params.seed} | training.config.model_dump()))
        # No dependency of the stage: another sentence in the report trains nothing again.
        data_report = (artifacts.DATA_REPORT, artifacts.DATA_PAGE, artifacts.DATA_PICTURE)
        mlflow_run.log_files([artifacts.reports_dir(task) / name for name in data_report], "data")
        fitted = fit(training, mlflow_run, state, checkpoints / artifacts.CHECKPOINT)
        mlflow_run.log_metrics({f"calibration/{name}": value for name, value in asdict(fitted.calibration).items()})
        mlflow_run.log_files(write_report(fitted, training.config.train, artifacts.reports_dir(task)), "training")
        artifacts.write(checkpoints / artifacts.RUN, RunInfo(run_id=mlflow_run.run_id, git_commit=commit))
    state.discard()
    accuracy, f1_macro = fitted.kept["val/accuracy"], fitted.kept["val/f1_macro"]
    temperature = fitted.calibration.temperature
    print(f"{task}: validation accuracy {accuracy:.4f}, macro F1 {f1_macro:.4f}, temperature {temperature:.3f}")


if __name__ == "__main__":
    run(train, TASK_NAMES)
