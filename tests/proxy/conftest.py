"""A real nginx in front of a real service of one worker."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.nginx import find_nginx, proxy
from tests.servers import Server, start

ONE_WORKER = {"BENTOML_CONFIG_OPTIONS": "services.relu_pipeline.workers=1"}


@pytest.fixture(scope="session", autouse=True)
def nginx() -> str:
    try:
        return find_nginx()
    except FileNotFoundError as error:
        pytest.fail(str(error)) if os.environ.get("CI") else pytest.skip(str(error))


@pytest.fixture(scope="session")
def service(models: Path) -> Iterator[Server]:
    with start(models, ONE_WORKER) as server:
        yield server
        assert server.process.poll() is None


@pytest.fixture(scope="session")
def url(service: Server) -> Iterator[str]:
    """The service through nginx, without limits by address."""
    with proxy([service.port], limit_addresses=False) as address:
        yield address
