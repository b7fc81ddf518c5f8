"""One MLflow run a model, begun by `train` and reopened by later stages. The only module that imports mlflow."""

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relu_pipeline.artifacts import PreparedMeta
from relu_pipeline.config import TaskName
from relu_pipeline.errors import TrackingError
from relu_pipeline.tracking.outbox import Entry, Outbox, read_entries

OUTBOX = Path("mlflow-outbox")
SERVER_TIMEOUT_S = 5
PATIENCE_S = 30  # for a server that is away when a stage ends
SYSTEM_METRICS_INTERVAL_S = 2
DIGEST_CHARS, MAX_NAME_CHARS, MAX_METRICS = 36, 250, 1000  # MLflow's limits; the last of a request
KEPT_CHARS = 30  # of the end of a name that is too long, which tells what is measured


class MlflowRun:
    """The active MLflow run. Metrics and files go through `outbox`; the rest is sent at once."""

    def __init__(self, run_id: str, outbox: Outbox) -> None:
        self.run_id = run_id
        self.outbox = outbox

    def log_params(self, params: Mapping[str, Any]) -> None:
        import mlflow

        mlflow.log_params(dict(params))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        named = {metric_name(name): value for name, value in metrics.items()}
        self.outbox.put({"metrics": named, "step": step or 0, "timestamp_ms": _now_ms()})

    def log_datasets(self, meta: PreparedMeta) -> None:
        import mlflow
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset

        for split, context in (("train", "training"), ("val", "validation")):
            source = CodeDatasetSource(tags={"source": meta.source.source, "sha256": meta.source.sha256})
            name, digest = f"{meta.source.name}-{split}", meta.digests[split][:DIGEST_CHARS]
            mlflow.log_input(MetaDataset(source, name=name, digest=digest), context=context)

    def log_files(self, files: list[Path], folder: str) -> None:
        for file in files:
            self.outbox.put({"file": str(file.resolve()), "folder": folder})

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
    def child(self, name: str) -> Iterator["MlflowRun"]:
        """A run below this one. Raises TrackingError if the server is away."""
        import mlflow

        try:
            run = mlflow.start_run(run_name=name, nested=True, log_system_metrics=False)
        except mlflow.exceptions.MlflowException as error:
            raise TrackingError(f"MLflow did not begin the run {name}: {error.message}; start its server") from error
        with _logged(mlflow, run.info.run_id) as child:
            yield child


@contextmanager
def start_run(experiment: str, commit: str, stage: str, interrupted: str | None = None) -> Iterator[MlflowRun]:
    """A run in `relu-pipeline-EXPERIMENT`, with system metrics: `interrupted` goes on if the store still has it.

    Raises TrackingError if the server is away now; one that goes away later does not stop the stage.
    """
    mlflow = _connect()
    _set_experiment(mlflow, f"relu-pipeline-{experiment}")
    known = interrupted is not None and _knows(mlflow, interrupted)
    tags = {"mlflow.source.git.commit": commit, "stage": stage}
    run = mlflow.start_run(run_id=interrupted if known else None, tags=tags, log_system_metrics=True)
    with _logged(mlflow, run.info.run_id) as logged:
        yield logged


@contextmanager
def _logged(mlflow: Any, run_id: str) -> Iterator[MlflowRun]:
    """The active run until the block ends, and with it the run, well or not."""
    with _outbox(run_id) as outbox:
        status = "FAILED"
        try:
            yield MlflowRun(run_id, outbox)
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            _end_run(mlflow, status, outbox)


@contextmanager
def reopen_run(run_id: str, task: TaskName) -> Iterator[MlflowRun]:
    """The run that `train` began. Raises TrackingError if the store does not know it."""
    mlflow = _connect()
    if not _knows(mlflow, run_id):
        raise TrackingError(
            f"run {run_id} is not in the MLflow store {_shown(mlflow.get_tracking_uri())}; set MLFLOW_TRACKING_URI to "
            f"the store that train@{task} wrote to, or train again: `dvc repro --force --single-item train@{task}`"
        )
    with mlflow.start_run(run_id=run_id, log_system_metrics=False), _outbox(run_id) as outbox:
        yield MlflowRun(run_id, outbox)


def send_outbox(path: Path) -> int:
    """Send the entries that an earlier run left in `path`, and count them. Raises TrackingError; what is left stays."""
    entries = read_entries(path)
    if not entries:
        raise TrackingError(f"{path}: no entries to send; unsent ones lie in {OUTBOX}/RUN_ID.jsonl")
    _connect()
    left = Outbox(path, _sender(path.stem), PATIENCE_S).close()
    if left:
        raise TrackingError(f"{path}: {left} of {len(entries)} entries were not taken; they stay there")
    return len(entries)


@contextmanager
def _outbox(run_id: str) -> Iterator[Outbox]:
    outbox = Outbox(_project_root() / OUTBOX / f"{run_id}.jsonl", _sender(run_id), PATIENCE_S)
    try:
        yield outbox
    finally:
        if left := outbox.close():
            print(
                f"warning: the MLflow server is away; {left} entries wait in {outbox.path}: later stages send them, "
                f"or `relu-pipeline send-metrics {outbox.path}`",
                file=sys.stderr,
            )


def _sender(run_id: str) -> Callable[[Entry], None]:
    """Sends an entry of `run_id`. MLflow stores a metric of the same name, step, time and value once."""
    import mlflow

    client = mlflow.MlflowClient()

    def send(entry: Entry) -> None:
        try:
            _send(client, run_id, entry)
        except mlflow.exceptions.MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise TrackingError(str(error)) from error
            print(f"warning: MLflow refuses an entry, which is lost: {error.message}", file=sys.stderr)
        except OSError as error:
            raise TrackingError(str(error)) from error

    return send


def _send(client: Any, run_id: str, entry: Entry) -> None:
    from mlflow.entities import Metric

    if "status" in entry:
        client.set_terminated(run_id, entry["status"], entry["timestamp_ms"])
    elif "metrics" in entry:
        items = entry["metrics"].items()
        metrics = [Metric(name, value, entry["timestamp_ms"], entry["step"]) for name, value in items]
        for start in range(0, len(metrics), MAX_METRICS):
            client.log_batch(run_id, metrics[start : start + MAX_METRICS])
    elif Path(entry["file"]).exists():  # or it was removed since, and there is nothing left to send
        client.log_artifact(run_id, entry["file"], entry["folder"])


def metric_name(name: str) -> str:
    """Return the name in characters that MLflow takes, with the code points of others: a class may have any name."""
    plain = re.sub(r"[^\w\-. :/]", lambda match: f"_{ord(match[0]):x}_", name)
    parts = (part if part.strip(".") else f"_{part}_" for part in plain.split("/"))
    name = "/".join(parts)
    return name if len(name) <= MAX_NAME_CHARS else name[: MAX_NAME_CHARS - KEPT_CHARS] + name[-KEPT_CHARS:]


def _end_run(mlflow: Any, status: str, outbox: Outbox) -> None:
    try:
        mlflow.end_run(status)
    except mlflow.exceptions.MlflowException:
        outbox.put({"status": status, "timestamp_ms": _now_ms()})


def _knows(mlflow: Any, run_id: str) -> bool:
    try:
        mlflow.get_run(run_id)
    except mlflow.exceptions.MlflowException:
        return False
    return True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


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


def _connect() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    # The outbox asks again by itself; MLflow's own default blocks for many minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
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
