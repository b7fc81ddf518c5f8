"""Functions that write outbox entries to MLflow, by kind of entry."""

import re
import sys
from pathlib import Path
from typing import Any

from relu_pipeline.tracking.outbox import Entry
from relu_pipeline.tracking.registry import send_model

MAX_NAME_CHARS, MAX_METRICS, MAX_PARAMS, MAX_TAG_CHARS = 250, 1000, 100, 5000  # limits of an MLflow request
KEPT_CHARS = 30  # kept of the end of a name that is too long: the end names the metric


def metric_name(name: str) -> str:
    """Return a name that MLflow accepts: other characters, as in class names, are replaced by their code points."""
    plain = re.sub(r"[^\w\-. :/]", lambda match: f"_{ord(match[0]):x}_", name)
    parts = (part if part.strip(".") else f"_{part}_" for part in plain.split("/"))
    name = "/".join(parts)
    return name if len(name) <= MAX_NAME_CHARS else name[: MAX_NAME_CHARS - KEPT_CHARS] + name[-KEPT_CHARS:]


def _send_params(client: Any, run_id: str, entry: Entry, folder: Path) -> None:
    """Log the new parameters. MLflow's parameters are immutable: a run keeps the first value, with a warning."""
    from mlflow.entities import Param

    logged = client.get_run(run_id).data.params
    wanted = {metric_name(name): str(value) for name, value in entry["params"].items()}
    for name, value in wanted.items():
        if logged.get(name, value) != value:
            print(f"warning: MLflow's run {run_id} keeps {name} {logged[name]}, not {value}", file=sys.stderr)
    new = [Param(name, value) for name, value in wanted.items() if name not in logged]
    for start in range(0, len(new), MAX_PARAMS):
        client.log_batch(run_id, params=new[start : start + MAX_PARAMS])


def _send_metrics(client: Any, run_id: str, entry: Entry, folder: Path) -> None:
    """Log the metrics. A repeated entry is harmless: MLflow stores equal name, step, time and value once."""
    from mlflow.entities import Metric

    named = {metric_name(name): value for name, value in entry["metrics"].items()}
    metrics = [Metric(name, value, entry["timestamp_ms"], entry["step"]) for name, value in named.items()]
    for start in range(0, len(metrics), MAX_METRICS):
        client.log_batch(run_id, metrics[start : start + MAX_METRICS])


def _send_tags(client: Any, run_id: str, entry: Entry, folder: Path) -> None:
    for name, value in entry["tags"].items():
        client.set_tag(run_id, name, value[:MAX_TAG_CHARS])


def _send_input(client: Any, run_id: str, entry: Entry, folder: Path) -> None:
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = CodeDatasetSource(tags=entry["source"])
    # `profile` is abstract in MLflow's base class, which does not derive from ABC.
    described = MetaDataset(source, name=entry["name"], digest=entry["digest"])  # type: ignore[abstract]
    tag = InputTag("mlflow.data.context", entry["context"])
    client.log_inputs(run_id, [DatasetInput(Dataset(**described.to_dict()), [tag])])


def _send_file(client: Any, run_id: str, entry: Entry, folder: Path) -> None:
    client.log_artifact(run_id, str(folder / entry["file"]), entry["folder"])


def _send_status(client: Any, run_id: str, entry: Entry, folder: Path) -> None:
    if entry["status"] == "RUNNING":
        client.update_run(run_id, entry["status"])
    else:
        client.set_terminated(run_id, entry["status"], entry["timestamp_ms"])


# By kind of entry; called with MLflow's client, the run ID, the entry, and the folder of its outbox.
SENDERS = {
    "params": _send_params,
    "metrics": _send_metrics,
    "tags": _send_tags,
    "input": _send_input,
    "file": _send_file,
    "model": send_model,
    "status": _send_status,
}
