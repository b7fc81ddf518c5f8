"""What the library may tell about a run, and the run that keeps nothing."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from relu_pipeline.artifacts import PreparedMeta


class Run(Protocol):
    run_id: str

    def log_params(self, params: Mapping[str, Any]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Never waits for a server."""

    def log_datasets(self, meta: PreparedMeta) -> None: ...

    def log_files(self, files: list[Path], folder: str) -> None: ...

    def register_onnx(self, model: Path, name: str, alias: str, example: NDArray[Any]) -> str:
        """Give the version under which the model is registered as `name`."""

    def child(self, name: str) -> AbstractContextManager["Run"]:
        """A run below this one."""


class NullRun:
    """Keeps nothing: for machines without MLflow."""

    run_id = "none"

    def log_params(self, params: Mapping[str, Any]) -> None:
        pass

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        pass

    def log_datasets(self, meta: PreparedMeta) -> None:
        pass

    def log_files(self, files: list[Path], folder: str) -> None:
        pass

    def register_onnx(self, model: Path, name: str, alias: str, example: NDArray[Any]) -> str:
        return "0"

    def child(self, name: str) -> AbstractContextManager["Run"]:
        return nullcontext(self)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots, as `dvc exp run -S` takes them."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
