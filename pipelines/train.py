from dataclasses import asdict

from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.config import TASK_NAMES, TaskName, load_params
from relu_pipeline.provenance import command_to_repeat, git_commit
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.mlflow_run import start_run
from relu_pipeline.training.fit import fit, join
from relu_pipeline.training.launch import all_processes
from relu_pipeline.training.plan import Training, plan
from relu_pipeline.training.report import write_report
from relu_pipeline.training.resume import await_state, open_state


def train(task: TaskName) -> None:
    params = load_params()
    # `health` is not a parameter of the DVC stage: its thresholds affect only warnings, not the outs.
    training = plan(TASKS[task], getattr(params, task), params.health, params.seed, artifacts.prepared_dir(task))
    with all_processes(training.hardware) as first:
        if first:
            train_and_report(training)
        else:
            join(training, await_state(artifacts.training_dir(task), training.key))


def train_and_report(training: Training) -> None:
    task, commit = training.task.name, git_commit()
    state = open_state(artifacts.training_dir(task), training.key)
    name = f"{training.config.model.name} {commit[:7]}"
    with start_run(task, commit, f"train@{task}", state.run_key, name, tags(training, commit)) as mlflow_run:
        state.begin(mlflow_run.key)
        mlflow_run.log_params(training.parameters)
        # Not a dependency of the stage: a change of the report must not cause a new training.
        data_report = (artifacts.reports_dir(task) / name for name in artifacts.DATA_FILES)
        mlflow_run.log_files([file for file in data_report if file.exists()], "data")
        checkpoint = artifacts.checkpoints_dir(task) / artifacts.CHECKPOINT
        fitted = fit(training, mlflow_run, state, checkpoint)
        mlflow_run.log_metrics({f"calibration/{name}": value for name, value in asdict(fitted.calibration).items()})
        mlflow_run.log_metrics({f"kept/{name}": value for name, value in fitted.kept.items()})
        mlflow_run.log_files(write_report(fitted, artifacts.reports_dir(task)), "training")
        mlflow_run.log_tags({"relu.checkpoint": artifacts.sha256_of(checkpoint)})
    state.discard()
    print(f"{task}: validation {fitted}")


def tags(training: Training, commit: str) -> dict[str, str]:
    return {
        "task": training.task.name,
        "data": f"{training.meta.source.name} ({training.meta.source.source})",
        "data_sha256": training.meta.source.sha256,
        "device": str(training.hardware),
        "mlflow.note.content": f"To reproduce this run: `{command_to_repeat(commit)}`",
    }


if __name__ == "__main__":
    run(train, TASK_NAMES)
