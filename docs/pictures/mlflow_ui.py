"""docs/mlflow_comparison.png: the runs of a project compared in MLflow's own page.

The project has run a few `dvc exp run` with other parameters of the text task.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests
from mlflow import MlflowClient

from docs.pictures import common
from tests.servers import free_port

EXPERIMENT = "relu-pipeline-text"
SHOWN = "^(val|train)/"  # of the metrics
WIDTH, HEIGHT = 1400, 1000  # CSS pixels
START_TIMEOUT_S = 120
DRAWING_MS = 15_000  # the page draws its charts one after the other and does not signal the end
# Otherwise MLflow's assistant covers the charts on a first visit.
VISITED = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"


def draw(project: Path) -> Path:
    with mlflow_ui(project) as url, common.browser_page(WIDTH, HEIGHT, 1) as page:
        experiment = MlflowClient(url).get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            raise common.PictureError(f"{project}/mlflow.db has no experiment {EXPERIMENT}; `dvc repro` creates it")
        page.add_init_script(VISITED)
        view = "workflowType=machine_learning&compareRunsMode=CHART"
        page.goto(f"{url}/#/experiments/{experiment.experiment_id}/runs?{view}")
        page.get_by_placeholder("Search metric charts").fill(SHOWN)
        page.wait_for_timeout(DRAWING_MS)
        png = page.screenshot()
    return common.save_png(png, common.DOCS / "mlflow_comparison.png")


@contextmanager
def mlflow_ui(project: Path) -> Iterator[str]:
    """Run MLflow's server on the project's mlflow.db while the block runs; yield its URL."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--port", url.rpartition(":")[2]]
    settings = {"MLFLOW_BACKEND_STORE_URI": "sqlite:///mlflow.db", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(command, cwd=project, env=os.environ | settings)
    try:
        await_health(server, url)
        yield url
    finally:
        server.terminate()
        server.wait()


def await_health(server: subprocess.Popen[bytes], url: str) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while server.poll() is None and time.monotonic() < deadline_s:
        with suppress(requests.RequestException):
            if requests.get(f"{url}/health", timeout=1).ok:
                return
        time.sleep(0.5)
    raise common.PictureError(f"MLflow's server did not respond at {url} within {START_TIMEOUT_S} s")


if __name__ == "__main__":
    common.run(draw)
