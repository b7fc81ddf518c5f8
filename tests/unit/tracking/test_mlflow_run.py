"""Against a real MLflow store in SQLite."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import mlflow
import pytest
from filelock import Timeout
from PIL import Image

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, PreparedMeta
from relu_pipeline.config import flatten
from relu_pipeline.errors import TrackingError
from relu_pipeline.tracking.mlflow_run import MlflowRun, reopen_run, send_outboxes, start_run
from relu_pipeline.tracking.mlflow_store import Store, check_responds, masked, open_registry, promotion_lock, store_uri
from tests.postgres import postgres
from tests.servers import free_port

CHECKPOINT = "c" * 64


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, which `dvc` would name in DVC_ROOT while it works in another folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "params.yaml").touch()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


@pytest.fixture
def nobody(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project whose server does not respond."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
    monkeypatch.setattr("relu_pipeline.tracking.mlflow_run.PATIENCE_S", 0.5)
    return project


def runs(experiment: str = "text") -> list[mlflow.entities.Run]:
    return mlflow.search_runs(experiment_names=[f"relu-pipeline-{experiment}"], output_format="list")


def found(run: MlflowRun) -> mlflow.entities.Run:
    (only,) = [logged for logged in runs() if logged.data.tags["relu.key"] == run.key]
    return only


@pytest.mark.parametrize(
    "uri",
    ["sqlite:///runs.db", "postgresql:///runs", "postgresql+psycopg://:1/runs", "file:runs", "file://127.0.0.1/runs"],
)
def test_addresses_without_a_host_or_a_port_are_left_to_mlflow(uri: str) -> None:
    check_responds(uri)


def test_a_server_behind_a_proxy_is_left_to_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(TrackingError, match="does not respond"):
        check_responds(uri)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    check_responds(uri)


def test_versions_are_listed_from_the_newest_without_those_of_others(project: Path) -> None:
    client, name = mlflow.MlflowClient(), "relu-pipeline-text"
    client.create_registered_model(name)
    for tags in ({"manifest_sha256": "a"}, {}, {"manifest_sha256": "b"}):
        client.create_model_version(name, str(project), tags=tags)
    with open_registry() as registry:
        listed = registry.versions(name)
    assert [(version.number, version.tags["manifest_sha256"]) for version in listed] == [("3", "b"), ("1", "a")]


def test_the_next_stage_sends_what_an_earlier_one_could_not(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start_run("text", "abc", "train@text") as run:
        run.log_metrics({"val/accuracy": 0.5})
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setattr("relu_pipeline.tracking.mlflow_run.PATIENCE_S", 60)
    with start_run("text", "abc", "validate@text"):
        pass
    assert (found(run).info.status, found(run).data.metrics) == ("FINISHED", {"val/accuracy": 0.5})
    assert not list((nobody / "mlflow-outbox").glob("*/"))


def test_a_run_and_its_metrics_have_the_times_at_which_they_were_logged(project: Path) -> None:
    before_ms = time.time_ns() // 1_000_000
    with start_run("text", "abc", "train@text") as run:
        run.log_metrics({"val/accuracy": 0.5})
    after_ms = time.time_ns() // 1_000_000
    info = found(run).info
    (metric,) = mlflow.MlflowClient().get_metric_history(info.run_id, "val/accuracy")
    assert before_ms <= info.start_time <= metric.timestamp <= info.end_time <= after_ms


def test_a_file_that_is_no_database_is_one_line(project: Path) -> None:
    (project / "mlflow.db").write_text("neither a database nor as short as an empty file, " * 9)
    with pytest.raises(TrackingError, match=r"^sqlite:///.*mlflow\.db: \w+: ") as caught:
        Store(project, store_uri(project)).connect()
    assert "\n" not in str(caught.value)


def test_a_run_has_no_end_while_it_goes_on(project: Path) -> None:
    with start_run("text", "abc", "train@text") as run:
        run.log_metrics({"first": 1.0})
        until = time.monotonic() + 60
        while not (runs() and runs()[0].data.metrics):
            assert time.monotonic() < until
            time.sleep(0.1)
        assert (found(run).info.status, found(run).info.end_time) == ("RUNNING", None)
    ended = found(run).info
    assert ended.status == "FINISHED"
    assert ended.end_time >= ended.start_time


def test_a_run_is_found_by_later_stages_through_the_bytes_of_its_checkpoint(
    project: Path, prepared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    meta = artifacts.read(prepared / "text" / "meta.json", PreparedMeta)
    with start_run("text", "abc", "train@text", tags={"task": "text"}) as run:
        run.log_params({"text.train.max_epochs": 2})
        run.log_metrics({"val/accuracy": 0.5}, step=0)
        run.log_datasets(meta, "train", "val")
        run.log_tags({"relu.checkpoint": CHECKPOINT})
    with reopen_run(CHECKPOINT, "text", "def", "evaluate@text") as reopened:
        reopened.log_metrics({"test/accuracy": 0.25})
        reopened.log_datasets(meta, "test")
    logged = found(run)
    assert (project / "mlflow.db").is_file()
    assert logged.info.status == "FINISHED"
    assert logged.data.params == {"text.train.max_epochs": "2"}
    assert logged.data.metrics == {"val/accuracy": 0.5, "test/accuracy": 0.25}
    tags = {"mlflow.source.git.commit": "abc", "stage": "train@text", "task": "text", "commit.evaluate": "def"}
    assert tags.items() <= logged.data.tags.items()
    assert "refuses" not in capfd.readouterr().err
    names = {dataset.dataset.name for dataset in logged.inputs.dataset_inputs}
    assert names == {"headlines-train", "headlines-val", "headlines-test"}
    assert not list((project / "mlflow-outbox").glob("*/"))


def test_a_run_bears_the_name_of_its_dvc_experiment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "pulpy-jibs")
    with start_run("text", "abc", "train@text", name="text_mlp abc"):
        pass
    (run,) = runs()
    assert (run.info.run_name, run.data.tags["dvc.experiment"]) == ("pulpy-jibs", "pulpy-jibs")


@pytest.mark.slow
def test_postgresql_takes_a_run_and_its_password_is_in_no_file(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with postgres() as cluster:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", cluster.uri)
        monkeypatch.setattr("relu_pipeline.tracking.mlflow_run.PATIENCE_S", 60)
        (project / "report.md").write_text("a report")
        with start_run("text", "abc", "train@text") as run:
            run.log_metrics({"val/accuracy": 0.5})
            run.log_files([project / "report.md"], "data")
        logged = found(run)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            unreachable = cluster.uri.replace(str(cluster.port), str(closed.getsockname()[1]))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", unreachable)
        with pytest.raises(TrackingError, match="does not respond") as refused:
            Store(project, store_uri(project)).connect()
        files = [path for folder in (project, cluster.folder) for path in folder.rglob("*") if path.is_file()]
        assert [path for path in files if cluster.password.encode() in path.read_bytes()] == []
        assert cluster.password not in f"{refused.value}{capfd.readouterr()}"
    assert (logged.data.metrics, logged.info.status) == ({"val/accuracy": 0.5}, "FINISHED")
    assert not (project / "mlflow.db").exists()


def test_classes_of_any_name_and_number_are_logged(project: Path) -> None:
    odd = ["Sci/Tech", "reverted?", "卡", "a//b", "..", "/", "x" * 300, "\n", "a:b", "50 % off"]
    metrics = {f"test/f1/{label}": number / 10 for number, label in enumerate(odd)}
    metrics |= {f"test/f1/{number}": 0.5 for number in range(1200)}
    metrics |= {f"test/f1/{'x' * 300}{letter}": 0.25 for letter in "abc"}
    with start_run("text", "abc", "train@text") as run:
        run.log_metrics(metrics)
    logged = found(run).data.metrics
    assert len(logged) == len(metrics)
    assert logged["test/f1/Sci/Tech"] == 0.0
    assert logged["test/f1/reverted_3f_"] == 0.1


def test_an_entry_that_the_store_refuses_does_not_hold_up_the_others(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with start_run("text", "abc", "train@text") as run:
        run.log_tags({"x" * 300: "the name is too long"})
        run.log_metrics({"yes": 1.0})
    assert found(run).data.metrics == {"yes": 1.0}
    assert "warning: MLflow rejected an entry" in capsys.readouterr().err


def test_a_parameter_keeps_its_first_value_and_a_line_says_so(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with start_run("text", "abc", "train@text") as run:
        run.log_params({"evaluate.calibration_bins": 15})
        run.log_params({"evaluate.calibration_bins": 10, "evaluate.gallery_size": 9})
    assert found(run).data.params == {"evaluate.calibration_bins": "15", "evaluate.gallery_size": "9"}
    assert "keeps evaluate.calibration_bins 15, not 10" in capsys.readouterr().err


def test_a_registered_model_is_whole_and_its_bytes_are_registered_once(
    project: Path, models: Path, prepared: Path
) -> None:
    client = mlflow.MlflowClient()
    picture = io.BytesIO()
    Image.new("RGB", (40, 32), "white").save(picture, "PNG")
    inputs = {"text": "Oil prices fall", "image": base64.b64encode(picture.getvalue()).decode()}
    for task in ("image", "text"):
        meta = artifacts.read(prepared / task / "meta.json", PreparedMeta)
        for _ in range(2):
            with start_run(task, "abc", f"train@{task}") as run:
                run.log_params({"seed": 42})
                run.register(models / task, meta)
        manifest = artifacts.read(models / task / "manifest.json", Manifest)
        name = f"relu-pipeline-{task}"
        (version,) = client.search_model_versions(f"name = '{name}'")
        assert client.get_model_version_by_alias(name, "candidate").version == version.version
        assert version.tags["model_sha256"] == manifest.files["model.onnx"]
        assert str(manifest.test_metrics["accuracy"])[:5] in version.description
        answers = mlflow.pyfunc.load_model(f"models:/{name}@candidate").predict([inputs[task]] * 70)
        assert len(answers) == 70
        assert set(answers["label"]) <= set(manifest.labels)
        assert answers["probability"].between(1 / len(manifest.labels), 1).all()
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{name}@candidate"))
        (onnx,) = folder.rglob("model.onnx")
        assert artifacts.sha256_of(onnx) == manifest.files["model.onnx"]
        assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle")]
        pinned = [line for line in (folder / "requirements.txt").read_text().splitlines() if line]
        assert all("==" in line for line in pinned)
        logged = client.get_logged_model(version.source.removeprefix("models:/"))
        metrics = {metric.key: (metric.value, metric.dataset_name) for metric in logged.metrics}
        assert metrics["test/accuracy"] == (manifest.test_metrics["accuracy"], f"{meta.source.name}-test")


def test_children_lie_below_their_run_and_can_be_compared(project: Path) -> None:
    with start_run("study", "abc", "study") as parent:
        for rate in (0.1, 0.2):
            with parent.child(f"rate {rate}") as child:
                child.log_params({"learning_rate": rate})
                child.log_metrics({"val/accuracy": rate / 2}, step=3)
        parent.log_metrics({"claims": 2.0})
    (top,) = [run for run in runs("study") if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs("study") if run.data.tags.get("mlflow.parentRunId") == top.info.run_id]
    assert {(run.data.params["learning_rate"], run.data.metrics["val/accuracy"]) for run in children} == {
        ("0.1", 0.05),
        ("0.2", 0.1),
    }
    assert {run.info.status for run in runs("study")} == {"FINISHED"}
    assert top.data.metrics == {"claims": 2.0}


@pytest.mark.parametrize(("error", "status"), [(ZeroDivisionError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_does_not_end_well_is_marked_so(project: Path, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), start_run("text", "abc", "train@text") as run:
        raise error
    assert found(run).info.status == status


def test_an_interrupted_run_goes_on(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt), start_run("text", "abc", "train@text") as run:
        run.log_metrics({"val/accuracy": 0.5}, step=0)
        raise KeyboardInterrupt
    with start_run("text", "abc", "train@text", interrupted=run.key) as resumed:
        resumed.log_metrics({"val/accuracy": 0.75}, step=1)
    assert found(run).info.status == "FINISHED"
    history = mlflow.MlflowClient().get_metric_history(found(run).info.run_id, "val/accuracy")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.5), (1, 0.75)]


def test_a_run_that_was_deleted_meanwhile_begins_anew(project: Path) -> None:
    with start_run("text", "abc", "train@text") as run:
        run.log_metrics({"first": 1.0})
        while not (runs() and runs()[0].data.metrics):
            time.sleep(0.1)
        mlflow.MlflowClient().delete_run(found(run).info.run_id)
        run.log_metrics({"second": 2.0})
    assert found(run).data.metrics == {"second": 2.0}
    mlflow.MlflowClient().delete_run(found(run).info.run_id)
    with start_run("text", "abc", "train@text", interrupted=run.key) as again:
        again.log_metrics({"third": 3.0})
    assert found(run).data.metrics == {"third": 3.0}


def test_a_deleted_experiment_comes_back(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with start_run("text", "abc", "train@text"):
        pass
    mlflow.delete_experiment(mlflow.get_experiment_by_name("relu-pipeline-text").experiment_id)
    with start_run("text", "abc", "train@text") as run:
        run.log_metrics({"val/accuracy": 0.5})
    assert found(run).data.metrics == {"val/accuracy": 0.5}
    assert "was deleted; it is restored" in capsys.readouterr().err


def test_no_message_shows_users_and_passwords() -> None:
    said = "API request to http://me:secret@host:5000/api failed; postgresql://me:secret@db/runs; a@b.org"
    assert masked(said) == "API request to http://host:5000/api failed; postgresql://db/runs; a@b.org"


@pytest.mark.parametrize(
    "uri", ["sqlite:///runs.db", "postgresql:///runs", "postgresql+psycopg://:1/runs", "file:runs"]
)
def test_addresses_without_a_host_are_left_to_mlflow(uri: str) -> None:
    check_responds(uri)


def test_a_checkpoint_that_the_store_does_not_know_gets_a_run_of_its_own(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for accuracy in (0.25, 0.5):
        with reopen_run(CHECKPOINT, "text", "def", "evaluate@text") as run:
            run.log_metrics({"test/accuracy": accuracy})
    (only,) = runs()
    assert only.data.metrics == {"test/accuracy": 0.5}
    assert (only.info.status, only.data.tags["relu.checkpoint"]) == ("FINISHED", CHECKPOINT)
    assert only.info.run_name == "text cccccccc"
    assert capsys.readouterr().err.count("has no run of the checkpoint cccccccccccc") == 1


def test_without_a_server_nothing_fails_and_all_is_sent_later_as_it_was(
    nobody: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = nobody / "report.txt"
    report.write_text("as it was")
    with start_run("text", "abc", "train@text") as run:
        run.log_metrics({"val/accuracy": 0.5}, step=3)
        run.log_files([report], "evaluation")
        run.log_tags({"relu.checkpoint": CHECKPOINT})
    with reopen_run(CHECKPOINT, "text", "def", "evaluate@text") as reopened:
        reopened.log_metrics({"test/accuracy": 0.25})
    said = capsys.readouterr().err
    assert said.count("\n") == 2
    assert "5 entries (http://127.0.0.1" in said
    assert "`relu-pipeline send-metrics`" in said
    assert "secret" not in said
    report.write_text("of another run")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert send_outboxes() == 7
    assert send_outboxes() == 0
    logged = found(run)
    assert (logged.info.status, logged.data.metrics) == ("FINISHED", {"val/accuracy": 0.5, "test/accuracy": 0.25})
    local = mlflow.artifacts.download_artifacts(run_id=logged.info.run_id, artifact_path="evaluation/report.txt")
    assert Path(local).read_text() == "as it was"


def test_an_evaluation_waits_for_its_training_that_is_not_sent_yet(
    nobody: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with start_run("text", "abc", "train@text") as run:
        run.log_tags({"relu.checkpoint": CHECKPOINT})
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        with reopen_run(CHECKPOINT, "text", "def", "evaluate@text") as reopened:
            reopened.log_metrics({"test/accuracy": 0.25})
        assert "the run of its training is in an outbox that could not be sent" in capsys.readouterr().err
    send_outboxes()
    (only,) = runs()
    assert only.data.metrics == {"test/accuracy": 0.25}


@pytest.mark.parametrize("password", ["s3cret/x", "s3cret@x", "s3c#ret", "s3cret"])
def test_no_part_of_a_password_is_shown(password: str) -> None:
    shown = masked(f"OperationalError at postgresql://user:{password}@db.example:5432/mlflow: no such database")
    assert shown == "OperationalError at postgresql://db.example:5432/mlflow: no such database"
    check_responds(f"sqlite:///{password}.db")
    with suppress(TrackingError):  # what cannot be taken apart is left to MLflow
        check_responds(f"postgresql://user:{password}@127.0.0.1:1/mlflow")


def test_a_killed_process_leaves_its_entries_and_no_running_run(project: Path) -> None:
    code = (
        "import time\n"
        "from relu_pipeline.tracking.mlflow_run import start_run\n"
        "with start_run('text', 'abc', 'train@text') as run:\n"
        "    run.log_metrics({'val/accuracy': 0.5})\n"
        "    print(run.key, flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = os.environ | {"DVC_ROOT": str(project)}
    killed = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert killed.stdout is not None
        key = killed.stdout.readline().strip()
        with start_run("text", "abc", "train@text"):
            pass  # a stage that runs beside it leaves it alone
        assert {run.data.tags["relu.key"]: run.info.status for run in runs()}.get(key, "RUNNING") == "RUNNING"
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        killed.stdout.close()
    assert send_outboxes() >= 2
    (logged,) = [run for run in runs() if run.data.tags["relu.key"] == key]
    assert (logged.info.status, logged.data.metrics) == ("KILLED", {"val/accuracy": 0.5})


def test_processes_that_begin_at_once_without_a_store_all_succeed(project: Path) -> None:
    code = (
        "from relu_pipeline.tracking.mlflow_run import start_run\n"
        "with start_run('text', 'abc', 'train@text') as run:\n"
        "    run.log_metrics({'val/accuracy': 0.5})\n"
    )
    environment = os.environ | {"DVC_ROOT": str(project)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    send_outboxes()  # what was too slow for the patience of a stage
    assert [process.returncode for process in processes] == [0] * 4
    assert not any("Traceback" in text for text in said)
    assert [run.data.metrics for run in runs()] == [{"val/accuracy": 0.5}] * 4


@pytest.mark.parametrize("name", ["with space", "a%20b", "what?", "#1"])
def test_any_folder_may_hold_a_project(project: Path, name: str) -> None:
    project = project / name
    project.mkdir()
    (project / "report.txt").write_text("text")
    code = (
        "from pathlib import Path\n"
        "from relu_pipeline.tracking.mlflow_run import start_run\n"
        "with start_run('text', 'abc', 'train@text') as run:\n"
        "    run.log_files([Path('report.txt')], 'reports')\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment["DVC_ROOT"] = str(project)
    subprocess.run([sys.executable, "-c", code], cwd=project, env=environment, check=True)
    assert (project / "mlflow.db").is_file()
    assert [path.name for path in (project / "mlartifacts").rglob("report.txt")] == ["report.txt"]
    assert not list((project / "mlflow-outbox").glob("*/"))


def test_a_stray_run_id_of_the_environment_is_ignored(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    for _ in range(2):
        with start_run("text", "abc", "train@text"):
            pass
    assert len(runs()) == 2


def test_nested_params_get_the_names_that_dvc_uses() -> None:
    assert flatten({"seed": 1, "train": {"lr": 2, "deep": {"x": 3}}}) == {"seed": 1, "train.lr": 2, "train.deep.x": 3}


def test_entries_of_the_outbox_are_lines_of_json(nobody: Path) -> None:
    with start_run("text", "abc", "train@text") as run:
        run.log_metrics({"val/accuracy": 0.5})
    (file,) = nobody.glob("mlflow-outbox/*/entries.jsonl")
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert [entry["kind"] for entry in entries] == ["status", "metrics", "status"]


@pytest.mark.usefixtures("project")
def test_one_promotion_of_a_project_at_a_time_holds_the_lock() -> None:
    with promotion_lock(), pytest.raises(Timeout):
        promotion_lock().acquire(timeout=0)
    with promotion_lock().acquire(timeout=0):
        pass
