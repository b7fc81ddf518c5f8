import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import optuna
import pytest

from relu_pipeline.errors import TrackingError
from relu_pipeline.search.database import find_database
from relu_pipeline.tracking.mlflow_run import start_run


def tables(database: Path) -> set[str]:
    with sqlite3.connect(database) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@pytest.mark.parametrize("first", ["mlflow", "search"])
def test_mlflow_and_optuna_both_migrate_their_tables_whoever_comes_first(project: Path, first: str) -> None:
    def use_mlflow() -> None:
        with start_run("text", "abc", "train@text"):
            pass

    def use_optuna() -> None:
        database = find_database()
        with database.locked():
            optuna.create_study(storage=database.open(), study_name="one", load_if_exists=True)

    steps = [use_mlflow, use_optuna] if first == "mlflow" else [use_optuna, use_mlflow]
    for step in steps:
        step()
    for command in (
        ["mlflow", "db", "upgrade", f"sqlite:///{project / 'mlflow.db'}"],
        ["optuna", "storage", "upgrade", "--storage", f"sqlite:///{project / 'search.db'}"],
    ):
        command[0] = str(Path(sys.executable).parent / command[0])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for step in steps:
        step()
    assert "runs" in tables(project / "mlflow.db") - tables(project / "search.db")
    assert "trials" in tables(project / "search.db") - tables(project / "mlflow.db")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("", "search.db"),
        ("sqlite:///elsewhere/tracking.db", "elsewhere/search.db"),
        ("http://127.0.0.1:5000", "search.db"),
        ("mlruns", "search.db"),
    ],
)
def test_the_file_lies_beside_mlflows_or_in_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch, uri: str, expected: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert find_database().shown == str(project / expected)


def test_postgresql_gets_a_schema_and_no_password_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://mlflow:secret@db:5432/runs?sslmode=require")
    database = find_database()
    assert database.url.query == {"sslmode": "require", "options": "-csearch_path=relu_pipeline_search"}
    assert database.url.database == "runs"
    assert "secret" not in database.shown


def test_a_database_that_cannot_be_used_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "search.db").write_text("neither a database nor as short as an empty file, " * 9)
    with pytest.raises(TrackingError, match=r"search\.db cannot be used: file is not a database") as caught:
        find_database().open()
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/nowhere/tracking.db")
    with pytest.raises(TrackingError, match=r"/proc/nowhere/search\.db cannot be used"), find_database().locked():
        pass


def test_one_process_at_a_time_holds_the_lock(project: Path) -> None:
    free = threading.Event()

    def take() -> None:
        with find_database().locked():
            free.set()

    with find_database().locked():
        other = threading.Thread(target=take)
        other.start()
        assert not free.wait(0.2)
    other.join(10)
    assert free.is_set()
