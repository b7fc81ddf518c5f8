"""Which model answers now: the one in `models/<task>/`, followed while the service runs."""

import logging
from pathlib import Path

from serving.errors import ModelError
from serving.metrics import RELOADS, forget_drift, show_model
from serving.models import load_model, read_manifest
from serving.settings import Settings

LOGGER = logging.getLogger("bentoml.relu_pipeline")
Stamp = list[tuple[str, int, int]]


class LiveModel:
    """Raises ModelError if there is no model to begin with; later ones that are wrong leave the earlier in use.

    A request takes `current` once, and so never mixes two models.
    """

    def __init__(self, task: str, folder: Path, settings: Settings) -> None:
        self.task = task
        self.folder = folder
        self.settings = settings
        self.loaded = self.seen = _stamp(folder)
        self.current = load_model(task, folder, settings)
        self.problem: str | None = None
        self._show(served=True)
        for result in ("ok", "refused"):  # from 0 on, or Prometheus would not see the first as an increase
            RELOADS.labels(task, result)

    def _show(self, served: bool) -> None:
        show_model(self.task, self.current.version, self.current.precision, served)

    def follow(self) -> None:
        """Called again and again: takes files into use that are new, and stayed the same since the last call."""
        stamp = _stamp(self.folder)
        settled = stamp == self.seen
        self.seen = stamp
        if settled and stamp != self.loaded:
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
                LOGGER.info("%s: now answered by version %s", old.task, self.current.version.version)
            self.problem = None
        except ModelError as error:
            self.problem = str(error)
            RELOADS.labels(old.task, "refused").inc()
            LOGGER.error("%s: version %s stays in use: %s", old.task, old.version.version, error)


def _stamp(folder: Path) -> Stamp:
    """Changes with every file of the folder that is written or replaced."""
    try:
        found = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError:  # while it is being replaced
        return []
    return [(name, stat.st_ino, stat.st_mtime_ns) for name, stat in found]
