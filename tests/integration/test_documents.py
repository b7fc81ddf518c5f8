"""README and pages of docs/, as a reader follows them on the project of the demo. Others have tests of their own."""

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from relu_pipeline import artifacts
from relu_pipeline.demo import FOREIGN, sample_digit
from tests.documents import INSTALLED, followed
from tests.dvc_queue import end_workers
from tests.servers import free_port

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN} | {"OMP_NUM_THREADS": "1"}
ENVIRONMENT["PATH"] = f"{Path(sys.executable).parent}:{ENVIRONMENT['PATH']}"
pytestmark = pytest.mark.slow


@pytest.fixture
def reader(finished: Path) -> Path:
    """The project with what a reader has: its `.venv`, a picture, a folder of pictures and a table."""
    subprocess.run(INSTALLED, shell=True, cwd=finished, check=True)
    (finished / "photos").mkdir()
    for path in (finished / "picture.png", finished / "photos/7.png"):
        path.write_bytes(sample_digit())
    (finished / "articles.csv").write_text("title,body,topic\nThe cup final,The striker wins,Sports\n")
    return finished


def serve(port: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return what a document's commands are replaced by for a service on this port, and the service."""
    url = f"http://127.0.0.1:{port}"
    replaced = {"make serve": f"BENTOML_PORT={port} make serve", "relu-pipeline ask": f"relu-pipeline ask --url {url}"}
    return replaced, {"make serve": f"{url}/readyz"}


def test_the_readme(reader: Path) -> None:
    replaced, services = serve(free_port())
    port = free_port()
    replaced |= {
        "make ui": f"MLFLOW_PORT={port} make ui",
        "image.train.max_epochs=12": "image.train.max_epochs=2",
        "image.model.name=plain_cnn": "image.model.name=plain_cnn -S image.train.max_epochs=1",
        "--trials 30": "--trials 2",
        "relu-pipeline promote image": "relu-pipeline promote image --force 'trained on demo data'",
    }
    services |= {"make ui": f"http://127.0.0.1:{port}/health"}
    with followed("README.md", reader, ENVIRONMENT, replaced, services) as printed:
        outputs = {command.split("  #")[0].strip(): output for command, output in printed}
    assert "Running stage" not in outputs["make repro"]
    assert "Business" in outputs['relu-pipeline ask text "Oil prices fall as the bank raises rates"']
    assert "relu-pipeline-image" in outputs["relu-pipeline promote image"]


def test_the_quick_start(reader: Path) -> None:
    replaced, services = serve(free_port())
    with followed("docs/index.md", reader, ENVIRONMENT, replaced, services) as printed:
        assert "Business" in printed[-1][1]


def test_the_commands_on_training(reader: Path) -> None:
    with followed("docs/training.md", reader, ENVIRONMENT, {}, {}) as printed:
        outputs = dict(printed)
    assert any("calibration_error" in output for output in outputs.values())
    assert "Params" in outputs["relu-pipeline describe checkpoints/image/best.ckpt"]


def test_the_commands_on_serving(reader: Path) -> None:
    port = free_port()
    replaced, services = serve(port)
    replaced |= {"127.0.0.1:3000": f"127.0.0.1:{port}"}
    with followed("docs/serving.md", reader, ENVIRONMENT, replaced, services) as printed:
        asked = [output for command, output in printed if command.startswith(("relu-pipeline ask", "curl"))]
        assert len(asked) == 4
        assert all("relu-pipeline-" in output and "error" not in output for output in asked)
        assert "Sports" in printed[-1][1]  # by way of the Open Inference Protocol


def test_the_commands_on_predictions(reader: Path) -> None:
    with followed("docs/predict.md", reader, ENVIRONMENT, {}, {}):
        assert (reader / "predictions.csv").read_text().startswith("file,label,probability")
        assert (reader / "predictions.parquet").stat().st_size > 0


def test_the_commands_of_the_relu_lab(reader: Path) -> None:
    with followed("docs/relu-lab.md", reader, ENVIRONMENT, {}, {}) as printed:
        assert "dead" in dict(printed)["relu-pipeline prune models/image/model.onnx"]


def test_the_commands_on_experiments(finished: Path) -> None:
    port = str(free_port())
    replaced = {
        "image.train.max_epochs=12": "image.train.max_epochs=2",
        "dvc queue status": "until dvc queue status | grep Success; do sleep 2; done",
        "make ui": f"{INSTALLED} && MLFLOW_PORT={port} make ui",
        "--trials 30 --timeout 20m": "--trials 3 --timeout 20m",
    }
    services = {"make ui": f"http://127.0.0.1:{port}/health"}
    with followed("docs/experiments.md", finished, ENVIRONMENT, replaced, services) as printed:
        outputs = dict(printed)
    end_workers(finished)
    (table,) = [output for command, output in printed if command.startswith("relu-pipeline search")]
    assert table.splitlines()[-1].startswith(("dvc exp run", "no trial is better than params.yaml"))
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
