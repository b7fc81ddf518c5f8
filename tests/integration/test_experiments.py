"""Several experiments at once, as `dvc queue` runs them, from an empty store."""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import mlflow
import pytest

from relu_pipeline.demo import FOREIGN
from tests.documents import INSTALLED, Shell
from tests.dvc_queue import run_queue
from tests.postgres import Cluster, postgres
from tests.s3 import Bucket, s3_bucket
from tests.servers import free_port

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN} | {"OMP_NUM_THREADS": "1"}
NAMES = [f"rate-{number}" for number in range(2)]
# Of the test of a team. Sixteen at once took 9 minutes on two cores.
TEAM_NAMES = [f"rate-{number:02}" for number in range(int(os.environ.get("RELU_TEAM_EXPERIMENTS", "2")))]
MODEL = "relu-pipeline-text"
pytestmark = pytest.mark.slow


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with postgres() as running:
        yield running


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with s3_bucket("team") as running:
        yield running


def run(project: Path, environment: Mapping[str, str], *words: str) -> str:
    """Run a Python module with its arguments; return all that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def learning_rate(number: int) -> float:
    """Of each experiment another, and never that of the demo: DVC would restore its result, without a run."""
    return 0.05 + number / 1000


def run_at_once(project: Path, environment: Mapping[str, str], names: Sequence[str] = NAMES) -> str:
    """Queue an experiment for each name and run them together; return all that was printed."""
    printed = ""
    for number, name in enumerate(names):
        rate = f"text.train.learning_rate={learning_rate(number)}"
        printed += run(project, environment, "dvc", "exp", "run", "--queue", "--name", name, "-S", rate)
    queue = run_queue(project, environment, len(names))
    for name in names:
        printed += run(project, environment, "dvc", "queue", "logs", name)
    assert queue.count("Success") == len(names), printed
    # What was too slow for the patience of a stage.
    return printed + queue + run(project, environment, "relu_pipeline.cli", "send-metrics")


def expect_all(uri: str, names: Sequence[str] = NAMES) -> None:
    """Check the runs of all experiments and their models in the store."""
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name(MODEL)
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == list(names)
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        assert run.data.tags["dvc.experiment"] == run.info.run_name
        rate = learning_rate(names.index(run.info.run_name))
        assert float(run.data.params["text.train.learning_rate"]) == rate
        assert {"val/accuracy", "test/accuracy", "int8/accuracy"} <= set(run.data.metrics)
    versions = client.search_model_versions(f"name = '{MODEL}'")
    assert {version.run_id for version in versions} == {run.info.run_id for run in runs}


def test_experiments_that_run_at_once_on_an_empty_store_are_all_found_by_their_names(finished: Path) -> None:
    (finished / "mlflow.db").unlink()
    run_at_once(finished, ENVIRONMENT)
    expect_all(f"sqlite:///{finished / 'mlflow.db'}")
    shown = run(finished, ENVIRONMENT, "dvc", "exp", "show", "--csv")
    assert set(NAMES) <= {row["Experiment"] for row in csv.DictReader(shown.splitlines())}


def test_experiments_at_once_are_all_in_an_empty_postgresql_which_keeps_its_password(
    finished: Path, cluster: Cluster
) -> None:
    environment = ENVIRONMENT | {"MLFLOW_TRACKING_URI": cluster.uri}
    (finished / "mlflow.db").unlink()
    printed = run_at_once(finished, environment)
    expect_all(cluster.uri)
    printed += run(finished, environment, "relu_pipeline.cli", "promote", "text", "--force", "a test")
    status = run(finished, environment, "relu_pipeline.cli", "status")
    assert f"text champion: {MODEL} " in status
    assert "a test" in status
    printed += status + run(finished, environment, "relu_pipeline.cli", "pull", "text@champion")
    url = f"http://127.0.0.1:{free_port()}"
    with Shell(finished, environment | {"MLFLOW_PORT": url.rpartition(":")[2]}) as shell:
        shell.run(INSTALLED)
        shell.start("make ui", f"{url}/health", finished / "ui.log")
        assert mlflow.MlflowClient(url).get_experiment_by_name(MODEL)
    assert not (finished / "mlflow.db").exists()
    unreachable = environment | {"MLFLOW_TRACKING_URI": cluster.uri.replace("/postgres", "/missing")}
    refused = subprocess.run(
        [sys.executable, "-m", "relu_pipeline.cli", "status"],
        cwd=finished,
        env=unreachable,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "missing" in refused.stderr
    assert cluster.password not in printed + refused.stdout + refused.stderr
    files = [path for folder in (finished, cluster.folder) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if cluster.password.encode() in path.read_bytes()] == []


def test_a_team_has_runs_in_postgresql_and_files_in_s3_whose_secrets_stay_with_the_server(
    finished: Path, cluster: Cluster, bucket: Bucket, tmp_path: Path
) -> None:
    """As in deploy/compose.yaml: the machines that train know neither the database nor the bucket."""
    (finished / "mlflow.db").unlink()
    shutil.rmtree(finished / "mlartifacts")
    url, log = f"http://127.0.0.1:{free_port()}", tmp_path / "server.log"
    server = "mlflow server --port {} --backend-store-uri {} --artifacts-destination s3://team/mlflow".format(
        url.rpartition(":")[2], "postgresql://relu@127.0.0.1:$DATABASE_PORT/postgres"
    )
    secret = {"PGPASSWORD": cluster.password, "DATABASE_PORT": str(cluster.port)} | bucket.environment
    member = ENVIRONMENT | {"MLFLOW_TRACKING_URI": url}
    with Shell(tmp_path, ENVIRONMENT | secret | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}) as shell:
        shell.start(server, f"{url}/health", log)
        printed = run_at_once(finished, member, TEAM_NAMES)
        expect_all(url, TEAM_NAMES)
        printed += run(finished, member, "relu_pipeline.cli", "promote", "text", "--force", "a test")
        shutil.rmtree(finished / "models/text")
        printed += run(finished, member, "relu_pipeline.cli", "pull", "text@champion")
    assert (finished / "models/text/model.onnx").exists()
    assert {"model.onnx", "relu_health.png"} <= {Path(file).name for file in bucket.files()}
    assert not (finished / "mlartifacts").exists()
    files = [path for folder in (finished, cluster.folder, tmp_path) for path in folder.rglob("*") if path.is_file()]
    for value in (cluster.password, bucket.environment["AWS_SECRET_ACCESS_KEY"]):
        assert value not in printed
        assert [path for path in files if value.encode() in path.read_bytes()] == []
