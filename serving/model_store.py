"""The model in use, and hot reload of new files in `models/<task>/`."""

import logging
import time
from pathlib import Path

from serving.errors import ModelError
from serving.metrics import RELOADS, count_from_zero, forget_drift, show_model
from serving.model import load_model, read_manifest
from serving.settings import Settings

RETRY_S = 10.0  # a failed load is retried: its cause may be temporary, such as a read error or low memory
LOGGER = logging.getLogger("bentoml.relu_pipeline")
Stamp = list[tuple[str, int, int]]


class ModelStore:
    """Holder of the model in use, reloaded when the files change.

    Raises ModelError if the first model cannot be loaded. If new files are invalid, the model in use stays, and
    `problem` says why. A request must read `current` only once, so that it does not mix two models.
    """

    def __init__(self, task: str, folder: Path, settings: Settings) -> None:
        self.task = task
        self.folder = folder
        self.settings = settings
        self.loaded = self.seen = _stamp(folder)
        self.current = load_model(task, folder, settings)
        self.problem: str | None = None
        self.retry_at_s = 0.0  # of the monotonic clock
        self._show(served=True)
        count_from_zero(task)

    def _show(self, served: bool) -> None:
        show_model(self.task, self.current.version, self.current.precision, served)

    def follow(self) -> None:
        """Load new files that have not changed since the last call. Called periodically."""
        stamp = _stamp(self.folder)
        settled = stamp == self.seen
        self.seen = stamp
        is_new = stamp != self.loaded
        if settled and (is_new or (self.problem and time.monotonic() >= self.retry_at_s)):
            self.loaded = stamp
            self._replace()

    def _replace(self) -> None:
        old = self.current
        try:
            if read_manifest(self.folder) != old.manifest:
                new = load_model(self.task, self.folder, self.settings)
                self._show(served=False)
                self.current = new
                self._show(served=True)
                forget_drift(old.task)
                RELOADS.labels(old.task, "ok").inc()
                LOGGER.info("%s: version %s is in use", old.task, self.current.version.version)
            self.problem = None
        except ModelError as error:
            self._refuse(str(error))

    def _refuse(self, problem: str) -> None:
        """Record the problem, and log it once for all retries."""
        if problem != self.problem:
            RELOADS.labels(self.task, "refused").inc()
            LOGGER.error("%s: version %s stays in use: %s", self.task, self.current.version.version, problem)
        self.problem = problem
        self.retry_at_s = time.monotonic() + RETRY_S


def _stamp(folder: Path) -> Stamp:
    """Return a value that changes whenever a file of the folder is written or replaced."""
    try:
        found = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError:  # the folder is being replaced
        return []
    return [(name, stat.st_ino, stat.st_mtime_ns) for name, stat in found]
