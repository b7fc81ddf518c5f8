"""The pages of docs/ about experiments and the registry, as a reader follows them on the demo's project."""

import os
import sys
from pathlib import Path

import mlflow
import pytest

from relu_pipeline import artifacts
from relu_pipeline.demo import FOREIGN
from tests.documents import INSTALLED, followed
from tests.servers import free_port

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN} | {"OMP_NUM_THREADS": "1"}
ENVIRONMENT["PATH"] = f"{Path(sys.executable).parent}:{ENVIRONMENT['PATH']}"
WAIT_FOR_THE_QUEUE = "while dvc queue status | grep --quiet --extended-regexp 'Queued|Running'; do sleep 2; done"
pytestmark = pytest.mark.pipeline


def test_the_commands_on_experiments(finished: Path) -> None:
    port = str(free_port())
    replaced = {
        "image.train.max_epochs=12": "image.train.max_epochs=2",
        "dvc queue status": f"{WAIT_FOR_THE_QUEUE}; dvc queue status",
        "make ui": f"{INSTALLED} && MLFLOW_PORT={port} make ui",
        "--trials 30 --timeout 20m": "--trials 3 --timeout 20m",
    }
    services = {"make ui": f"http://127.0.0.1:{port}/health"}
    with followed("docs/experiments.md", finished, ENVIRONMENT, replaced, services) as printed:
        outputs = dict(printed)
    (queue,) = [output for command, output in printed if command.startswith("dvc queue status")]
    assert queue.count("Success") == 1
    (table,) = [output for command, output in printed if command.startswith("relu-pipeline search")]
    assert table.splitlines()[-1].startswith("dvc exp run")
    assert "accuracy" in outputs["dvc metrics diff"]
    runs = mlflow.MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    names = {experiment.name for experiment in runs.search_experiments()}
    assert {"relu-pipeline-image", "relu-pipeline-text", "relu-pipeline-text-search"} <= names


def test_the_commands_on_the_registry(finished: Path) -> None:
    digest = artifacts.sha256_of(finished / "models/text/model.onnx")
    port = str(free_port())
    replaced = {
        "relu-pipeline promote text": "relu-pipeline promote text --force 'trained on demo data'",
        "3f2a9c1b": digest[:8],
        "5001": port,
    }
    services = {"mlflow models serve": f"http://127.0.0.1:{port}/ping"}
    with followed("docs/registry.md", finished, ENVIRONMENT, replaced, services) as printed:
        status, trace, rollback, predicted, answered = (
            next(output for command, output in printed if text in command)
            for text in ("status", "trace", "rollback", "load_model", "curl")
        )
    assert "text champion: relu-pipeline-text 1" in status
    assert digest in trace
    assert "relu-pipeline-text 1" in rollback
    assert "Business" in predicted
    assert '"label": "Business"' in answered
    assert artifacts.sha256_of(finished / "models/text/model.onnx") != digest
