"""DVC's queue of experiments."""

import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

import psutil

FOUR_JOBS_TIMEOUT_S = 600


def run_queue(project: Path, environment: Mapping[str, str], jobs: int = 1) -> str:
    """Run the queued experiments, `jobs` at once, to their ends; return what `dvc queue` prints of them."""
    dvc = [sys.executable, "-m", "dvc", "queue"]
    # No pipe: the workers keep it open. They go on for a minute or two, and for ever if Celery loses a message.
    with TemporaryFile("w+") as printed:
        start = [*dvc, "start", "--jobs", str(jobs)]
        subprocess.run(start, cwd=project, env=environment, stdout=printed, stderr=printed, check=True)
        end = time.monotonic() + FOUR_JOBS_TIMEOUT_S * max(1, jobs / 4)
        try:
            while True:
                status = subprocess.check_output([*dvc, "status"], cwd=project, env=environment, text=True)
                if "Running" not in status and "Queued" not in status:
                    printed.seek(0)
                    return printed.read() + status
                assert time.monotonic() < end, status
                time.sleep(5)
        finally:
            end_workers(project)


def end_workers(project: Path) -> None:
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.cwd() == str(project):
                process.kill()
