"""Connection to MLflow's tracking store: find or create the run of an entry, and send the entry.

Only this module, `senders`, `registry` and `served_model` import mlflow. The background thread of an outbox calls this
module and retries failures, so that a stage never waits for the store.
"""

import getpass
import json
import logging
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from filelock import FileLock

from relu_pipeline.config import PARAMS
from relu_pipeline.errors import PipelineError, TrackingError
from relu_pipeline.tracking.outbox import ENTRIES, Entry, send_left
from relu_pipeline.tracking.registry import Registry
from relu_pipeline.tracking.senders import SENDERS

OUTBOXES = "mlflow-outbox"
DATABASE = "mlflow.db"
SERVER_TIMEOUT_S = 5
DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
IDENTITY = "relu.{}"  # the tag that identifies a run in every store
EXPERIMENT_TAGS = {
    "mlflow.experiment.primaryMetric.name": "test/accuracy",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "True",
}
PERMANENT = "INVALID_PARAMETER_VALUE"  # all other errors are retried: even BAD_REQUEST may be an exhausted pool


class Store:
    """Thread-safe client of the store at `uri`, for the project in `root`. Connects with the first entry."""

    def __init__(self, root: Path, uri: str) -> None:
        self.root = root
        self.uri = uri
        self._client: Any = None
        self._left_is_sent = False
        self._run_ids: dict[str, str] = {}
        self._changing = threading.RLock()

    @property
    def is_server(self) -> bool:
        return self.uri.startswith(("http://", "https://"))

    def send(self, entry: Entry, folder: Path) -> None:
        """Send an entry of the outbox `folder`. Raises TrackingError if a retry may succeed."""
        with _explained(self.uri):
            client = self.client()
            from mlflow.exceptions import MlflowException

            with self._changing:
                run_id = self._run_id(client, entry["run"])
            try:
                SENDERS[entry["kind"]](client, run_id, entry, folder)
            except MlflowException as error:
                if error.error_code != PERMANENT:
                    raise
                if client.get_run(run_id).info.lifecycle_stage == "deleted":
                    self._run_ids.clear()
                    raise TrackingError(f"the run {run_id} was deleted") from error
                print(f"warning: MLflow rejected an entry: {masked(error.message)}", file=sys.stderr)

    def connect(self) -> Any:
        """Return MLflow's client. Raises TrackingError if the store cannot be reached."""
        with self._changing, _explained(self.uri):
            if self._client is None:
                check_responds(self.uri)
                self._client = _connect(self.uri, self.root)
            return self._client

    def client(self) -> Any:
        """Return MLflow's client, after the first call has sent the entries of ended processes.

        Raises TrackingError.
        """
        with self._changing:
            client = self.connect()
            if not self._left_is_sent:
                self.send_left()
            return client

    def send_left(self) -> int:
        """Send the entries in the outboxes of ended processes and return their number.

        Runs of killed processes get the status KILLED. Raises TrackingError if the store fails; the entries stay.
        """
        self._left_is_sent = True
        return send_left(self.root / OUTBOXES, self.send, _with_end)

    def _run_id(self, client: Any, run: Mapping[str, Any]) -> str:
        """Return the newest run with the identity that was not deleted, or a new one."""
        identity = f"{run['identity']}={run['value']}"
        if identity not in self._run_ids:
            self._run_ids[identity] = self._find(client, run) or self._begin(client, run)
        return self._run_ids[identity]

    def _find(self, client: Any, run: Mapping[str, Any]) -> str | None:
        experiment = client.get_experiment_by_name(run["experiment"])
        if experiment is None:
            return None
        if experiment.lifecycle_stage == "deleted":
            print(f"MLflow: the experiment {run['experiment']} was deleted; it is restored", file=sys.stderr)
            client.restore_experiment(experiment.experiment_id)
        tag = IDENTITY.format(run["identity"])
        found = client.search_runs([experiment.experiment_id], f"tags.`{tag}` = '{run['value']}'", max_results=1)
        return found[0].info.run_id if found else None

    def _begin(self, client: Any, run: Mapping[str, Any]) -> str:
        if run["identity"] == "checkpoint" and self._waits(run["value"]):
            raise TrackingError("the run of its training is in an outbox that could not be sent")
        tags = run["tags"] | {IDENTITY.format(run["identity"]): run["value"], "mlflow.user": _user()}
        if run["parent"]:
            tags |= {"mlflow.parentRunId": self._run_id(client, run["parent"])}
        experiment_id = self._experiment_id(client, run["experiment"])
        created = client.create_run(experiment_id, run["start_ms"], tags, run["name"])
        if run["identity"] == "checkpoint":
            client.set_terminated(created.info.run_id, "FINISHED")
            print(
                f"MLflow: {masked(self.uri)} has no run of the checkpoint {run['value'][:12]}; it was trained "
                f"elsewhere, or the run was deleted. A new run gets its metrics: {run['name']}",
                file=sys.stderr,
            )
        return str(created.info.run_id)

    def _experiment_id(self, client: Any, name: str) -> str:
        # Locked, so that two processes do not both create the experiment.
        with _creation_lock(self.root):
            experiment = client.get_experiment_by_name(name)
            if experiment is not None:
                return str(experiment.experiment_id)
            location = None if self.is_server else (self.root / "mlartifacts").as_uri()
            return str(client.create_experiment(name, location, EXPERIMENT_TAGS))

    def _waits(self, checkpoint_sha256: str) -> bool:
        """Return whether an outbox has the tag that identifies the training of the checkpoint."""
        tag = json.dumps({"relu.checkpoint": checkpoint_sha256})[1:-1]
        return any(tag in file.read_text(encoding="utf-8") for file in self.root.glob(f"{OUTBOXES}/*/{ENTRIES}"))


def project_root() -> Path:
    """Return the root of the project, also in the copies that `dvc exp run --temp` and `--queue` work in."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def store_uri(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI, or the URI of the project's mlflow.db."""
    # Relative, because MLflow would parse a "?" or "%" of the path as part of the URL (mlflow#4785).
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{os.path.relpath(root / DATABASE)}"


@contextmanager
def open_registry() -> Iterator[Registry]:
    """Open the project's registry, after sending waiting entries. Raises TrackingError."""
    root = _registry_root()
    store = Store(root, store_uri(root))
    with _explained(store.uri):
        client = store.connect()
        try:
            store.send_left()
        except TrackingError as error:
            print(f"warning: {error}; the entries are kept in {root / OUTBOXES}", file=sys.stderr)
        yield Registry(client)


def promotion_lock() -> FileLock:
    """Return the lock that serialises promotions of the project."""
    return FileLock(_registry_root() / OUTBOXES / "promotion.lock")


def _registry_root() -> Path:
    """Return the root of the project.

    Raises TrackingError outside a project if no store is named: MLflow would create an empty one.
    """
    root = project_root()
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (root / PARAMS).is_file():
        raise TrackingError(
            f"{root} is not a relu-pipeline project and has no registry; run the command in the root of a clone, or "
            "set MLFLOW_TRACKING_URI to the store"
        )
    return root


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Convert every exception of a client, database or artifact store to TrackingError, which does not end a stage."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        reason = (str(error).strip() or "no message").splitlines()[0]
        raise TrackingError(masked(f"{uri}: {type(error).__name__}: {reason}")) from error


_connecting = threading.Lock()


def _connect(uri: str, root: Path) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # The outbox retries; MLflow's default retries would block for many minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    with _connecting:
        import mlflow

        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        # Locked, so that only one process creates the tables of a new database (mlflow#4123).
        with _creation_lock(root):
            mlflow.set_tracking_uri(uri)  # some of MLflow's functions ignore the client's URI and use this one
            client = mlflow.MlflowClient()
            client.search_experiments(max_results=1)
    return client


def _creation_lock(root: Path) -> FileLock:
    folder = root / OUTBOXES
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "store.lock")


def check_responds(uri: str) -> None:
    """Raise TrackingError if nothing listens at an address of HTTP or of a database; MLflow would retry for minutes.

    Other addresses are left to MLflow: files, Unix sockets, several hosts, servers behind a proxy.
    """
    try:
        address = urlsplit(uri)
        port = address.port or DEFAULT_PORTS.get(address.scheme.partition("+")[0])
    except ValueError:
        return
    if not address.hostname or not port or address.scheme in getproxies():
        return
    try:
        socket.create_connection((address.hostname, port), timeout=SERVER_TIMEOUT_S).close()
    except OSError as error:
        raise TrackingError(f"{masked(uri)} does not respond ({error})") from error


def masked(text: str) -> str:
    """Return the text without the user names and passwords of URLs in it."""
    return re.sub(r"://\S*@", "://", text)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user ID without a name, as in a container
        return str(os.getuid())


def _with_end(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries with the status KILLED for each run that a killed process did not end."""
    last = {entry["run"]["value"]: entry for entry in entries if entry["kind"] == "status"}
    killed = {"status": "KILLED", "timestamp_ms": time.time_ns() // 1_000_000}
    return [*entries, *({**entry, **killed} for entry in last.values() if entry["status"] == "RUNNING")]
