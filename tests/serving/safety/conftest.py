"""Two real services for these tests: one with the default settings, one with a key and a short deadline."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.servers import Server, copy_project, start
from tests.serving.safety.answers import Caller

KEY = "schlüssel-🔑-0123"
DEADLINE_S = 1.0
ELSEWHERE = "127.0.0.2"


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """No worker may die, whatever the tests send. All have one precision, so that their answers can be compared."""
    project = copy_project(tmp_path_factory.mktemp("plain") / "project", precision="fp32")
    with start(models, project=project) as running:
        workers = running.workers()
        yield running
        assert running.workers() == workers, "a worker died: see which test it was with `pytest -x`"


@pytest.fixture(scope="session")
def guarded(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker that requires KEY, has a deadline of DEADLINE_S and listens on ELSEWHERE.

    The key comes with the newline that a file or a Kubernetes secret often ends with.
    """
    project = copy_project(tmp_path_factory.mktemp("guarded") / "project", deadline_s=DEADLINE_S, workers=1)
    with start(models, {"RELU_API_KEY": f"{KEY}\n"}, project, ELSEWHERE) as running:
        yield running


@pytest.fixture(scope="session")
def caller(server: Server) -> Iterator[Caller]:
    with requests.Session() as session:
        yield Caller(server.url, session)
