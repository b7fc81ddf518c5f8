"""The service under attack: one real process for all tests of this folder, and a guarded one with short patience."""

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
    """Its workers must outlive whatever the tests send; all have the same precision, so that answers compare."""
    project = copy_project(tmp_path_factory.mktemp("plain") / "project", precision="fp32")
    with start(models, project=project) as running:
        workers = running.workers()
        yield running
        assert running.workers() == workers, "a worker died: see which test it was with `pytest -x`"


@pytest.fixture(scope="session")
def guarded(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Wants KEY, waits DEADLINE_S for a request, and listens ELSEWHERE; one worker has to bear it all."""
    project = copy_project(tmp_path_factory.mktemp("guarded") / "project", deadline_s=DEADLINE_S, workers=1)
    with start(models, {"RELU_API_KEY": KEY}, project, ELSEWHERE) as running:
        yield running


@pytest.fixture(scope="session")
def caller(server: Server) -> Iterator[Caller]:
    with requests.Session() as session:
        yield Caller(server.url, session)
