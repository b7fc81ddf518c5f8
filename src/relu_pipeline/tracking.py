"""Experiment tracking: one MLflow run a model, begun by `train` and reopened by later stages.

The only module that imports mlflow; library functions take a `Run`, and `NullRun` needs no MLflow at all.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from relu_pipeline.artifacts import PreparedMeta
from relu_pipeline.config import Task
from relu_pipeline.errors import TrackingError

SERVER_TIMEOUT_S = 5
SYSTEM_METRICS_INTERVAL_S = 2
DIGEST_CHARS = 36  # MLflow's limit


class Run(Protocol):
    run_id: str

    def log_params(self, params: Mapping[str, Any]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None: ...

    def log_datasets(self, meta: PreparedMeta) -> None: ...

    def log_files(self, files: list[Path], folder: str) -> None: ...

    def register_onnx(self, model: Path, name: str, alias: str, example: NDArray[Any]) -> str: ...


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


class MlflowRun:
    """The active MLflow run."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def log_params(self, params: Mapping[str, Any]) -> None:
        import mlflow

        mlflow.log_params(dict(params))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        import mlflow

        mlflow.log_metrics(dict(metrics), step=step)

    def log_datasets(self, meta: PreparedMeta) -> None:
        import mlflow
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset

        for split, context in (("train", "training"), ("val", "validation")):
            source = CodeDatasetSource(tags={"source": meta.source.source, "sha256": meta.source.sha256})
            name, digest = f"{meta.source.dataset}-{split}", meta.digests[split][:DIGEST_CHARS]
            mlflow.log_input(MetaDataset(source, name=name, digest=digest), context=context)

    def log_files(self, files: list[Path], folder: str) -> None:
        import mlflow

        for file in files:
            mlflow.log_artifact(str(file), folder)

    def register_onnx(self, model: Path, name: str, alias: str, example: NDArray[Any]) -> str:
        """Log the model to the run, register it as `name` under `alias`, give its version."""
        import mlflow
        import onnx

        info = mlflow.onnx.log_model(
            onnx.load(model),
            name="model",
            signature=_signature(model),
            input_example=example,
            registered_model_name=name,
            onnx_execution_providers=["CPUExecutionProvider"],
            pip_requirements=["onnx", "onnxruntime", "numpy"],
        )
        version = str(info.registered_model_version)
        mlflow.MlflowClient().set_registered_model_alias(name, alias, version)
        return version


@contextmanager
def start_run(task: Task, commit: str, stage: str) -> Iterator[MlflowRun]:
    """A new run in the task's experiment, with system metrics. Raises TrackingError."""
    mlflow = _connect()
    _set_experiment(mlflow, f"relu-pipeline-{task}")
    tags = {"mlflow.source.git.commit": commit, "stage": stage}
    with mlflow.start_run(tags=tags, log_system_metrics=True) as run:
        yield MlflowRun(run.info.run_id)


@contextmanager
def reopen_run(run_id: str, task: Task) -> Iterator[MlflowRun]:
    """The run that `train` began. Raises TrackingError if the store does not know it."""
    mlflow = _connect()
    try:
        mlflow.get_run(run_id)
    except mlflow.exceptions.MlflowException as error:
        raise TrackingError(
            f"run {run_id} is not in the MLflow store {_shown(mlflow.get_tracking_uri())}; set MLFLOW_TRACKING_URI to "
            f"the store that train@{task} wrote to, or train again: `dvc repro --force --single-item train@{task}`"
        ) from error
    with mlflow.start_run(run_id=run_id, log_system_metrics=False):
        yield MlflowRun(run_id)


def _signature(model: Path) -> Any:
    """Inputs and outputs as the graph declares them; a free axis is -1."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec
    from onnxruntime import InferenceSession

    dtypes = {"tensor(uint8)": "uint8", "tensor(int64)": "int64", "tensor(float)": "float32"}

    def schema(tensors: Any) -> Any:
        free = [[axis if isinstance(axis, int) else -1 for axis in tensor.shape] for tensor in tensors]
        specs = zip(tensors, free, strict=True)
        return Schema([TensorSpec(np.dtype(dtypes[t.type]), tuple(shape), t.name) for t, shape in specs])

    session = InferenceSession(model, providers=["CPUExecutionProvider"])
    return ModelSignature(schema(session.get_inputs()), schema(session.get_outputs()))


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots, as `dvc exp run -S` takes them."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _connect() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_project_root() / 'mlflow.db'}"
    if uri.startswith(("http://", "https://")):
        _check_server(uri)
    import mlflow

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    mlflow.set_tracking_uri(uri)
    mlflow.set_system_metrics_sampling_interval(SYSTEM_METRICS_INTERVAL_S)
    return mlflow


def _project_root() -> Path:
    # `dvc exp run --temp` and `--queue` work in a temporary copy and name the real project here.
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def _check_server(uri: str) -> None:
    """MLflow itself would retry for minutes before it says that nobody answers."""
    import requests

    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=SERVER_TIMEOUT_S).raise_for_status()
    except requests.RequestException as error:
        raise TrackingError(
            f"the MLflow server {_shown(uri)} does not answer ({type(error).__name__}); start it, correct "
            "MLFLOW_TRACKING_URI, or unset it to use the project's own mlflow.db"
        ) from error


def _shown(uri: str) -> str:
    """`uri` without a password that may stand in it."""
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _set_experiment(mlflow: Any, name: str) -> None:
    try:
        if mlflow.get_experiment_by_name(name) is None:
            local = mlflow.get_tracking_uri().startswith("sqlite:")
            mlflow.create_experiment(name, (_project_root() / "mlartifacts").as_uri() if local else None)
        mlflow.set_experiment(name)
    except mlflow.exceptions.MlflowException as error:
        raise TrackingError(f"MLflow store {_shown(mlflow.get_tracking_uri())}: {error.message}") from error
