"""Several experiments at once, as `dvc queue` runs them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

from relu_pipeline.demo import FOREIGN

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN} | {"OMP_NUM_THREADS": "1"}
NAMES = [f"rate-{number}" for number in range(4)]
pytestmark = pytest.mark.pipeline


def dvc(project: Path, *words: str) -> str:
    command = [sys.executable, "-m", "dvc", *words]
    done = subprocess.run(command, cwd=project, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_experiments_that_run_at_once_on_an_empty_store_are_all_found_by_their_names(finished: Path) -> None:
    (finished / "mlflow.db").unlink()
    for number, name in enumerate(NAMES):
        dvc(finished, "exp", "run", "--queue", "--name", name, "-S", f"text.train.learning_rate={0.05 + number / 100}")
    dvc(finished, "queue", "start", "--jobs", "4")
    end = time.monotonic() + 400
    while any(state in dvc(finished, "queue", "status") for state in ("Running", "Queued")):
        assert time.monotonic() < end
        time.sleep(2)
    assert dvc(finished, "queue", "status").count("Success") == len(NAMES), dvc(finished, "queue", "logs", NAMES[0])
    words = [sys.executable, "-m", "relu_pipeline.cli", "send-metrics"]
    subprocess.run(words, cwd=finished, env=ENVIRONMENT, check=True)  # what was too slow for the patience of a stage
    mlflow.set_tracking_uri(f"sqlite:///{finished / 'mlflow.db'}")
    runs = mlflow.search_runs(experiment_names=["relu-pipeline-text"], output_format="list")
    assert sorted(run.info.run_name for run in runs) == NAMES
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        assert run.data.tags["dvc.experiment"] == run.info.run_name
        assert float(run.data.params["text.train.learning_rate"]) == 0.05 + NAMES.index(run.info.run_name) / 100
        assert {"val/accuracy", "test/accuracy", "int8/accuracy"} <= set(run.data.metrics)
    shown = json.loads(dvc(finished, "exp", "show", "--json"))
    assert set(NAMES) <= {name for name in json.dumps(shown).split('"') if name in NAMES}
