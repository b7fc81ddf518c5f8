"""Draw docs/mlflow_comparison.png: the runs of a project compared in MLflow's own page, by Chromium.

`python docs/pictures/mlflow_ui.py PROJECT`, where PROJECT is a clone in which a few `dvc exp run` with other text
parameters have finished, such as demo/. Needs `chromium` on the PATH.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket

import requests
from mlflow import MlflowClient
from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).resolve().parents[1] / "mlflow_comparison.png"
EXPERIMENT = "relu-pipeline-text"
SHOWN = "^(val|train)/"  # of the metrics
SIZE = {"width": 1400, "height": 1000}
START_TIMEOUT_S = 120
DRAWING_MS = 15_000  # the page loads its charts one after the other, and tells nobody when it has them
# What MLflow's page would cover the charts with on a first visit.
VISITED = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"


def main(project: Path) -> None:
    chromium = shutil.which("chromium")
    if not chromium:
        sys.exit("error: no chromium on the PATH: `apt-get install chromium`")
    with ui(project) as url, sync_playwright() as playwright:
        experiment = MlflowClient(url).get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            sys.exit(f"error: {project}/mlflow.db has no experiment {EXPERIMENT}; `dvc repro` logs to it")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport=SIZE)
        context.add_init_script(VISITED)
        page = context.new_page()
        view = "workflowType=machine_learning&compareRunsMode=CHART"
        page.goto(f"{url}/#/experiments/{experiment.experiment_id}/runs?{view}")
        page.get_by_placeholder("Search metric charts").fill(SHOWN)
        page.wait_for_timeout(DRAWING_MS)
        page.screenshot(path=PICTURE)
        browser.close()


@contextmanager
def ui(project: Path) -> Iterator[str]:
    """Run MLflow's server on the project's store until the block ends; yield its URL."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--port", str(port)]
    settings = {"MLFLOW_BACKEND_STORE_URI": "sqlite:///mlflow.db", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(command, cwd=project, env=os.environ | settings)
    try:
        await_answer(url)
        yield url
    finally:
        server.terminate()
        server.wait()


def await_answer(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            requests.get(f"{url}/health", timeout=1).raise_for_status()
            return
        except requests.RequestException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
