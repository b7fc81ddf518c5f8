"""Against a real MLflow store in SQLite."""

import json
import socket
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from relu_pipeline import artifacts
from relu_pipeline.artifacts import PreparedMeta
from relu_pipeline.errors import TrackingError
from relu_pipeline.export.graph import export_graph
from relu_pipeline.models.checkpoint import load_network
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.mlflow_run import reopen_run, send_outbox, start_run
from relu_pipeline.tracking.run import flatten


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, which `dvc` would name in DVC_ROOT while it works in another folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def test_a_run_is_reopened_by_later_stages(project: Path, prepared: Path) -> None:
    with start_run("text", "abc", "train@text") as run:
        run.log_params({"train.max_epochs": 2})
        run.log_metrics({"val/accuracy": 0.5}, step=0)
        run.log_datasets(artifacts.read(prepared / "text" / "meta.json", PreparedMeta))
    with reopen_run(run.run_id, "text") as reopened:
        reopened.log_metrics({"test/accuracy": 0.25})
    found = mlflow.get_run(run.run_id)
    assert (project / "mlflow.db").is_file()
    assert found.info.status == "FINISHED"
    assert found.data.metrics["val/accuracy"] == 0.5
    assert found.data.metrics["test/accuracy"] == 0.25
    assert found.data.tags["mlflow.source.git.commit"] == "abc"
    assert found.data.tags["stage"] == "train@text"
    assert {dataset.dataset.name for dataset in found.inputs.dataset_inputs} == {"headlines-train", "headlines-val"}


def test_classes_of_any_name_and_number_are_logged(project: Path) -> None:
    odd = ["Sci/Tech", "reverted?", "卡", "a//b", "..", "/", "x" * 300, "\n", "a:b", "50 % off"]
    metrics = {f"test/f1/{label}": number / 10 for number, label in enumerate(odd)}
    metrics |= {f"test/f1/{number}": 0.5 for number in range(1200)}
    metrics |= {f"test/f1/{'x' * 300}{letter}": 0.25 for letter in "abc"}
    with start_run("text", "abc", "train@text") as run:
        run.log_metrics(metrics)
    found = mlflow.get_run(run.run_id).data.metrics
    assert len(found) == len(metrics)
    assert found["test/f1/Sci/Tech"] == 0.0
    assert found["test/f1/reverted_3f_"] == 0.1


def test_an_entry_that_the_store_refuses_does_not_hold_up_the_others(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with start_run("text", "abc", "train@text") as run:
        run.outbox.put({"metrics": {"no?": 1.0}, "step": 0, "timestamp_ms": 1})
        run.log_metrics({"yes": 1.0})
    assert mlflow.get_run(run.run_id).data.metrics == {"yes": 1.0}
    assert "warning: MLflow refuses an entry" in capsys.readouterr().err


def test_a_model_is_registered_as_candidate_and_answers_through_mlflow(
    project: Path, trained: Path, tmp_path: Path
) -> None:
    example = torch.tensor([[5, 6, 7], [8, 9, 0]])
    export_graph(TASKS["text"], load_network(trained / "text/best.ckpt"), example, 20, tmp_path / "model.onnx")
    with start_run("text", "abc", "train@text") as run:
        version = run.register_onnx(tmp_path / "model.onnx", "relu-pipeline-text", "candidate", example.numpy())
    registered = mlflow.MlflowClient().get_model_version_by_alias("relu-pipeline-text", "candidate")
    assert (str(registered.version), registered.run_id) == (version, run.run_id)
    answers = mlflow.pyfunc.load_model("models:/relu-pipeline-text@candidate").predict(example.numpy())
    np.testing.assert_allclose(answers["probabilities"].sum(axis=1), 1, rtol=1e-5)


def test_children_lie_below_their_run_and_can_be_compared(project: Path) -> None:
    with start_run("study", "abc", "study") as parent:
        for rate in (0.1, 0.2):
            with parent.child(f"rate {rate}") as child:
                child.log_params({"learning_rate": rate})
                child.log_metrics({"val/accuracy": rate / 2}, step=3)
        parent.log_metrics({"claims": 2.0})
    found = mlflow.search_runs(
        experiment_names=["relu-pipeline-study"], filter_string=f"tags.`mlflow.parentRunId` = '{parent.run_id}'"
    )
    assert set(zip(found["params.learning_rate"], found["metrics.val/accuracy"], strict=True)) == {
        ("0.1", 0.05),
        ("0.2", 0.1),
    }
    assert set(found["status"]) == {"FINISHED"}
    assert mlflow.get_run(parent.run_id).data.metrics == {"claims": 2.0}


def test_a_failed_run_is_marked_so(project: Path) -> None:
    with pytest.raises(ZeroDivisionError), start_run("text", "abc", "train@text") as run:
        raise ZeroDivisionError
    assert mlflow.get_run(run.run_id).info.status == "FAILED"


def test_an_unknown_run_and_an_absent_server_are_clear_errors(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrackingError, match=r"run 0+ is not in the MLflow store sqlite.*dvc repro --force"):
        with reopen_run("0" * 32, "text"):
            pass
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:\d+ does not answer.*MLFLOW_TRACKING_URI") as no:
            with start_run("text", "abc", "train@text"):
                pass
    assert "secret" not in str(no.value)


def test_nested_params_get_the_names_that_dvc_uses() -> None:
    assert flatten({"seed": 1, "train": {"lr": 2, "deep": {"x": 3}}}) == {"seed": 1, "train.lr": 2, "train.deep.x": 3}


def test_an_interrupted_run_goes_on(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt), start_run("text", "abc", "train@text") as run:
        run.log_metrics({"val/accuracy": 0.5}, step=0)
        raise KeyboardInterrupt
    assert mlflow.get_run(run.run_id).info.status == "KILLED"
    with start_run("text", "abc", "train@text", interrupted=run.run_id) as resumed:
        resumed.log_metrics({"val/accuracy": 0.75}, step=1)
    assert resumed.run_id == run.run_id
    assert mlflow.get_run(run.run_id).info.status == "FINISHED"
    history = mlflow.MlflowClient().get_metric_history(run.run_id, "val/accuracy")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.5), (1, 0.75)]
    with start_run("text", "abc", "train@text", interrupted="0" * 32) as new:
        assert new.run_id != run.run_id


def test_what_waits_in_the_outbox_is_sent_once_by_a_later_stage(project: Path) -> None:
    with start_run("text", "abc", "train@text") as run:
        pass
    waiting = project / "mlflow-outbox" / f"{run.run_id}.jsonl"
    report = project / "report.txt"
    report.write_text("kept")
    metrics = {"metrics": {"val/accuracy": 0.5}, "step": 3, "timestamp_ms": 1_700_000_000_000}
    entries = [metrics, metrics, {"file": str(report), "folder": "evaluation"}]
    waiting.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    with reopen_run(run.run_id, "text"):
        pass
    client = mlflow.MlflowClient()
    assert len(client.get_metric_history(run.run_id, "val/accuracy")) == 1
    assert [file.path for file in client.list_artifacts(run.run_id, "evaluation")] == ["evaluation/report.txt"]
    assert not waiting.exists()
    with pytest.raises(TrackingError, match=r"no entries to send; unsent ones lie in mlflow-outbox"):
        send_outbox(waiting)
