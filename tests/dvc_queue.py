"""DVC's queue of experiments.

Its workers send each other files. One that reads a file before it is written ends with an error, and so does
`dvc queue status`: the tests ask again, and start workers again.
"""

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
    start = [*dvc, "start", "--jobs", str(jobs)]
    end = time.monotonic() + FOUR_JOBS_TIMEOUT_S * max(1, jobs / 4)
    # No pipe: the workers keep it open. They go on for a minute or two, and for ever if Celery loses a message.
    with TemporaryFile("w+") as printed:
        try:
            while True:
                if not workers(project):
                    subprocess.run(start, cwd=project, env=environment, stdout=printed, stderr=printed, check=True)
                status = subprocess.run(
                    [*dvc, "status"], cwd=project, env=environment, capture_output=True, text=True, check=False
                )
                if status.returncode == 0 and "Running" not in status.stdout and "Queued" not in status.stdout:
                    printed.seek(0)
                    return printed.read() + status.stdout
                assert time.monotonic() < end, status.stdout + status.stderr
                time.sleep(5)
        finally:
            end_workers(project)


def end_workers(project: Path) -> None:
    for worker in workers(project):
        with suppress(psutil.NoSuchProcess):
            worker.kill()


def workers(project: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.cwd() == str(project):
                found.append(process)
    return found
