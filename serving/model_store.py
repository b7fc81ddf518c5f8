"""The model that is served: the one in `models/<task>/`, followed while the service runs."""

import logging
import time
from pathlib import Path

from serving.errors import ModelError
from serving.metrics import RELOADS, count_from_zero, forget_drift, show_model
from serving.model import load_model, read_manifest
from serving.settings import Settings

RETRY_S = 10.0  # a refusal may be of the moment: a file that could not be read, memory that was short
LOGGER = logging.getLogger("bentoml.relu_pipeline")
Stamp = list[tuple[str, int, int]]


class ModelStore:
    """Raises ModelError if there is no model to begin with; later ones that are wrong leave the earlier in use.

    A request takes `current` once, and so never mixes two models. `problem` is why the newest files are not in use.
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
        """Take files into use that are new and have stayed the same since the last call; called again and again."""
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
        """Say it once, however often it is tried again."""
        if problem != self.problem:
            RELOADS.labels(self.task, "refused").inc()
            LOGGER.error("%s: version %s stays in use: %s", self.task, self.current.version.version, problem)
        self.problem = problem
        self.retry_at_s = time.monotonic() + RETRY_S


def _stamp(folder: Path) -> Stamp:
    """Return what changes with every file of the folder that is written or replaced."""
    try:
        found = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError:  # while it is being replaced
        return []
    return [(name, stat.st_ino, stat.st_mtime_ns) for name, stat in found]
