"""Where the trials are kept: a database beside MLflow's, which the processes of a search share.

Optuna and MLflow each keep the version of their tables in a table `alembic_version`, whose name neither lets us change
(`storages/_rdb/storage.py` of Optuna, `store/db_migrations/env.py` of MLflow). In one database, whichever comes second
takes the other's version for its own and refuses to start. So Optuna has a file or, in PostgreSQL, a schema of its own.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from relu_pipeline.errors import TrackingError

FILE = "search.db"
SCHEMA = "relu_pipeline_search"
LOCK = 7_355_608  # of PostgreSQL's advisory locks, which are numbers
TIMEOUT_S = 60  # for other processes' writes to a SQLite file
HEARTBEAT_S, SILENCE_S = 5, 60  # a trial that was not heard of for so long is failed, and tried once more


@dataclass(frozen=True)
class Database:
    """`url`: SQLAlchemy's, of a SQLite file or a schema of PostgreSQL."""

    url: URL

    @property
    def shown(self) -> str:
        """The file, or the URL without its password."""
        return str(self.url.database) if self._is_file else self.url.render_as_string()

    @property
    def _is_file(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    def open(self) -> RDBStorage:
        """Raises TrackingError."""
        arguments = {"connect_args": {"timeout": TIMEOUT_S}} if self._is_file else {"pool_pre_ping": True}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's heartbeat, since 2020
                return RDBStorage(
                    self.url.render_as_string(hide_password=False),
                    engine_kwargs=arguments,
                    heartbeat_interval=HEARTBEAT_S,
                    grace_period=SILENCE_S,
                    heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=1),
                )
        except (SQLAlchemyError, ImportError, RuntimeError) as error:
            raise self.unusable(error) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold back other processes that ask for the same. Raises TrackingError."""
        try:
            held = self._lock()
        except (OSError, SQLAlchemyError, ImportError) as error:
            raise self.unusable(error) from error
        with held:
            yield

    def _lock(self) -> AbstractContextManager[Any]:
        if self._is_file:
            return FileLock(f"{self.url.database}.lock").acquire()
        connection = create_engine(self.url, poolclass=NullPool).connect()
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})  # until the connection ends
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        connection.commit()
        return connection

    def unusable(self, error: Exception) -> TrackingError:
        """Return the error for the user."""
        reason = " ".join(str(error.__cause__ or error).split())
        return TrackingError(f"the database of the search, {self.shown}, cannot be used: {reason}")


def find_database() -> Database:
    """Return the database that belongs to MLflow's store."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith("postgresql"):
        url = make_url(uri)
        return Database(url.update_query_dict({"options": f"-csearch_path={SCHEMA}"}))
    file = Path(make_url(uri).database or FILE) if uri.startswith("sqlite:") else Path(FILE)
    return Database(URL.create("sqlite", database=str(file.with_name(FILE).resolve())))
