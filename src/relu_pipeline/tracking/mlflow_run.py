"""MLflow implementation of `Run`. Each training is one run; later stages find it by the SHA-256 of its checkpoint.

All entries and copies of logged files wait in an outbox until MLflow's store accepts them. A stage therefore does not
wait for a store, or fail because of one.
"""

import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from relu_pipeline.artifacts import PreparedMeta, Split
from relu_pipeline.config import PARAMS, TaskName, where_to_find
from relu_pipeline.errors import ConfigError, TrackingError
from relu_pipeline.tracking.mlflow_store import OUTBOXES, Store, project_root, store_uri
from relu_pipeline.tracking.outbox import Outbox
from relu_pipeline.tracking.registry import build_pyfunc, describe

PATIENCE_S = 10  # wait for the server at the end of a stage
DIGEST_CHARS = 12  # MLflow accepts 36, but its web page shows all of them in tables
CONTEXTS: Mapping[Split, str] = {"train": "training", "val": "validation", "test": "testing"}


class MlflowRun:
    """MLflow run whose entries go to an outbox; `key` identifies the run, also after an interruption."""

    def __init__(self, run: Mapping[str, Any], outbox: Outbox) -> None:
        self.key: str = run["value"]
        self._run = run
        self._outbox = outbox

    def log_params(self, params: Mapping[str, Any]) -> None:
        self._put("params", params={name: str(value) for name, value in params.items()})

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._put("metrics", metrics=dict(metrics), step=step or 0, timestamp_ms=_now_ms())

    def log_tags(self, tags: Mapping[str, str]) -> None:
        self._put("tags", tags=dict(tags))

    def log_datasets(self, meta: PreparedMeta, *splits: Split) -> None:
        source = {"source": meta.source.source, "sha256": meta.source.sha256}
        for split in splits:
            name, digest = f"{meta.source.name}-{split}", meta.digests[split][:DIGEST_CHARS]
            self._put("input", name=name, digest=digest, context=CONTEXTS[split], source=source)

    def log_files(self, files: list[Path], folder: str) -> None:
        for file in files:
            self._put("file", file=self._outbox.copy(file), folder=folder)

    def register(self, models: Path, meta: PreparedMeta) -> None:
        """Register the model in `models/<task>/` with the alias "candidate"; `meta` describes its data."""
        with TemporaryDirectory() as scratch:
            built = Path(scratch) / "model"
            build_pyfunc(models, built)
            place = self._outbox.copy(built)
        dataset = {"dataset_name": f"{meta.source.name}-test", "dataset_digest": meta.digests["test"][:DIGEST_CHARS]}
        self._put("model", model=place, dataset=dataset, **describe(models))

    @contextmanager
    def child(self, name: str) -> Iterator["MlflowRun"]:
        """Start a child run, and end it with the block."""
        run = _new(self._run["experiment"], uuid.uuid4().hex, name, {}, parent=self._run)
        with _ending(MlflowRun(run, self._outbox)) as child:
            yield child

    def _put(self, kind: str, **content: Any) -> None:
        self._outbox.put({"kind": kind, "run": self._run} | content)

    def log_status(self, status: str) -> None:
        self._put("status", status=status, timestamp_ms=_now_ms())


@contextmanager
def start_run(
    experiment: str,
    commit: str,
    stage: str,
    interrupted: str | None = None,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[MlflowRun]:
    """Start a run in `relu-pipeline-EXPERIMENT`, or continue the one of the key `interrupted` if the store has it."""
    named = os.environ.get("DVC_EXP_NAME")
    described = {"mlflow.source.git.commit": commit, "mlflow.source.name": stage, "stage": stage} | dict(tags or {})
    if named:
        described["dvc.experiment"] = named
    run = _new(f"relu-pipeline-{experiment}", interrupted or uuid.uuid4().hex, named or name or stage, described)
    with _outbox(run) as outbox, _ending(MlflowRun(run, outbox)) as logged:
        yield logged


@contextmanager
def reopen_run(checkpoint_sha256: str, task: TaskName, commit: str, stage: str) -> Iterator[MlflowRun]:
    """Reopen the newest run that produced the checkpoint, or start a run if the store has none."""
    tags = {"mlflow.source.git.commit": commit, "mlflow.source.name": stage, "stage": stage, "task": task}
    name = os.environ.get("DVC_EXP_NAME") or f"{task} {checkpoint_sha256[:8]}"
    run = _new(f"relu-pipeline-{task}", checkpoint_sha256, name, tags, identity="checkpoint")
    with _outbox(run) as outbox:
        reopened = MlflowRun(run, outbox)
        reopened.log_tags({f"commit.{stage.partition('@')[0]}": commit})  # MLflow rejects "@" in a key
        yield reopened


def send_outboxes() -> int:
    """Send the entries in the project's outboxes and return their number.

    Raises ConfigError outside of a project, TrackingError if the store fails; the entries stay.
    """
    root = project_root()
    if not (root / PARAMS).is_file():
        raise ConfigError(f"{PARAMS}: no such file; {where_to_find(PARAMS)}")
    return Store(root, store_uri(root)).send_left()


def _new(
    experiment: str,
    value: str,
    name: str,
    tags: Mapping[str, str],
    parent: Mapping[str, Any] | None = None,
    identity: str = "key",
) -> dict[str, Any]:
    return {
        "experiment": experiment,
        "identity": identity,
        "value": value,
        "name": name,
        "tags": dict(tags),
        "parent": parent,
        "start_ms": _now_ms(),
    }


@contextmanager
def _ending(run: MlflowRun) -> Iterator[MlflowRun]:
    """Set the status RUNNING, and the final status at the end of the block."""
    status = "FAILED"
    run.log_status("RUNNING")
    try:
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        run.log_status(status)


@contextmanager
def _outbox(run: Mapping[str, Any]) -> Iterator[Outbox]:
    root = project_root()
    store = _store(root, store_uri(root))
    folder = root / OUTBOXES / f"{time.time_ns()}-{os.getpid()}-{run['value'][:8]}"
    if store.uri.startswith("sqlite:"):
        # Create the tables in this thread: the outbox's thread could be stopped halfway when the process ends.
        with suppress(TrackingError):
            store.connect()
    outbox = Outbox(folder, store.send, PATIENCE_S)
    try:
        yield outbox
    finally:
        if left := outbox.close():
            print(
                f"warning: MLflow did not take {left} entries ({outbox.problem}); they are kept in {outbox.folder}; "
                "the next stage, or `relu-pipeline send-metrics`, sends them",
                file=sys.stderr,
            )


@cache
def _store(root: Path, uri: str) -> Store:
    """Return the store, the same for all runs of a process: a study has hundreds."""
    return Store(root, uri)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
