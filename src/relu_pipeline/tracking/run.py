"""What the library may tell about a run, and the run that keeps nothing."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from relu_pipeline.artifacts import PreparedMeta, Split


class Run(Protocol):
    """Nothing here waits for a server, or fails because of one."""

    key: str

    def log_params(self, params: Mapping[str, Any]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None: ...

    def log_tags(self, tags: Mapping[str, str]) -> None: ...

    def log_datasets(self, meta: PreparedMeta, *splits: Split) -> None: ...

    def log_files(self, files: list[Path], folder: str) -> None:
        """Their bytes as they are now."""

    def register(self, models: Path, meta: PreparedMeta) -> None:
        """Register the folder `models/<task>/`; `meta`: of its data."""

    def child(self, name: str) -> AbstractContextManager["Run"]:
        """A run below this one."""


class NullRun:
    """Keeps nothing: for machines without MLflow."""

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
