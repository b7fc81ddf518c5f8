from pipelines import run
from relu_pipeline import artifacts
from relu_pipeline.config import flatten, load_params
from relu_pipeline.provenance import git_commit
from relu_pipeline.study.study import study as study_activations
from relu_pipeline.tracking.mlflow_run import start_run


def study() -> None:
    params = load_params()
    with start_run("study", git_commit(), stage="study") as mlflow_run:
        mlflow_run.log_params(flatten({"study": params.study.model_dump()}))
        claims = study_activations(artifacts.prepared_dir("image"), params.study, mlflow_run, artifacts.STUDY)
    confirmed = sum(claim.confirmed for claim in claims)
    print(f"study: {confirmed} of {len(claims)} claims confirmed, see {artifacts.STUDY}/study.md")


if __name__ == "__main__":
    run(study)
