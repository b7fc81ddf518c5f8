"""Database of the trials, next to MLflow's, shared by the processes of a search.

Optuna and MLflow both store the version of their tables in a table `alembic_version`, and neither can be configured to
use another name (`storages/_rdb/storage.py` of Optuna, `store/db_migrations/env.py` of MLflow). In one database each
would read the other's version and fail. Optuna therefore has its own SQLite file, or its own schema in PostgreSQL.
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
LOCK = 7_355_608  # key of a PostgreSQL advisory lock
TIMEOUT_S = 60  # for a SQLite file that another process locks
HEARTBEAT_S, SILENCE_S = 5, 60  # a trial without a heartbeat for this time has failed, and is retried once


@dataclass(frozen=True)
class Database:
    """Database of Optuna at the SQLAlchemy `url`: a SQLite file, or a schema of PostgreSQL."""

    url: URL

    @property
    def shown(self) -> str:
        """Return the file, or the URL without its password."""
        return str(self.url.database) if self._is_file else self.url.render_as_string()

    @property
    def _is_file(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    def open(self) -> RDBStorage:
        """Return Optuna's storage. Raises TrackingError."""
        arguments = {"connect_args": {"timeout": TIMEOUT_S}} if self._is_file else {"pool_pre_ping": True}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats are marked experimental since 2020
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
        """Hold a lock between processes. Raises TrackingError."""
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
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})  # held until the connection closes
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        connection.commit()
        return connection

    def unusable(self, error: Exception) -> TrackingError:
        """Return a TrackingError for an error of the database."""
        reason = " ".join(str(error.__cause__ or error).split())
        return TrackingError(f"the search database {self.shown} cannot be used: {reason}")


def find_database() -> Database:
    """Return the database next to MLflow's store."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith("postgresql"):
        url = make_url(uri)
        return Database(url.update_query_dict({"options": f"-csearch_path={SCHEMA}"}))
    file = Path(make_url(uri).database or FILE) if uri.startswith("sqlite:") else Path(FILE)
    return Database(URL.create("sqlite", database=str(file.with_name(FILE).resolve())))
