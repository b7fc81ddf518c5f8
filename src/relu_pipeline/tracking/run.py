"""Tracking interface, and a no-op implementation."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from relu_pipeline.artifacts import PreparedMeta, Split


class Run(Protocol):
    """Interface of a tracked run. No method may wait for a server, or raise because a server fails.

    `key` identifies the run, so that a training that resumes continues it.
    """

    key: str

    def log_params(self, params: Mapping[str, Any]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None: ...

    def log_tags(self, tags: Mapping[str, str]) -> None: ...

    def log_datasets(self, meta: PreparedMeta, *splits: Split) -> None: ...

    def log_files(self, files: list[Path], folder: str) -> None:
        """Log the present content of the files; later changes are not logged."""

    def register(self, models: Path, meta: PreparedMeta) -> None:
        """Register the model in `models/<task>/`; `meta` describes its data."""

    def child(self, name: str) -> AbstractContextManager["Run"]:
        """Return a context manager that starts a child run and ends it."""


class NullRun:
    """Run that logs nothing, for use without MLflow."""

    key = "none"

    def log_params(self, params: Mapping[str, Any]) -> None:
        pass

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        pass

    def log_tags(self, tags: Mapping[str, str]) -> None:
        pass

    def log_datasets(self, meta: PreparedMeta, *splits: Split) -> None:
        pass

    def log_files(self, files: list[Path], folder: str) -> None:
        pass

    def register(self, models: Path, meta: PreparedMeta) -> None:
        pass

    def child(self, name: str) -> AbstractContextManager["Run"]:
        return nullcontext(self)
