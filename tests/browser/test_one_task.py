"""A service with the model of one task only: all that it offers is of this task."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import bentoml
import pytest
import requests
from playwright.sync_api import expect

from relu_pipeline.demo import sample_digit
from tests.browser.conftest import Visit
from tests.servers import Server, start

pytestmark = pytest.mark.slow

TEXT = "The striker wins the cup final"
OTHERS = {"image": "text", "text": "image"}


@pytest.fixture(scope="module", params=OTHERS)
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(models: Path, task: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("one")
    shutil.copytree(models / task, folder / task)
    with start(folder) as running:
        yield running


def endpoints(task: str) -> set[str]:
    return {f"/classify_{task}", f"/classify_{task}s"}


def get(server: Server, path: str) -> requests.Response:
    return requests.get(f"{server.url}{path}", timeout=10)


def post(server: Server, path: str) -> requests.Response:
    content = {"files": {"image": sample_digit()}} if "image" in path else {"json": {path.split("_")[1]: TEXT}}
    return requests.post(f"{server.url}{path}", timeout=10, **content)


def test_every_description_is_of_this_task_alone(server: Server, task: str) -> None:
    for path in ("/", "/docs", "/readyz", "/livez", "/metrics", f"/relu_health/{task}.png", f"/card/{task}.html"):
        assert get(server, path).ok
    assert {path for path in get(server, "/docs.json").json()["paths"] if "classify" in path} == endpoints(task)
    assert {route["route"] for route in get(server, "/schema.json").json()["routes"]} == endpoints(task)
    assert set(get(server, "/samples").json()) == {task}
    info = get(server, "/info").json()
    assert {key: set(info[key]) for key in ("models", "precision", "refused", "drift")} == {
        key: {task} for key in ("models", "precision", "refused", "drift")
    }
    assert f'task="{task}"' in get(server, "/metrics").text
    assert f'task="{OTHERS[task]}"' not in get(server, "/metrics").text


def test_only_the_endpoints_of_this_task_answer(server: Server, task: str) -> None:
    answer = post(server, f"/classify_{task}")
    assert answer.json()["model"]["name"] == f"relu-pipeline-{task}"
    for path in (*endpoints(OTHERS[task]), f"/relu_health/{OTHERS[task]}.png", f"/card/{OTHERS[task]}.html"):
        response = post(server, path) if "classify" in path else get(server, path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    with bentoml.SyncHTTPClient(server.url) as client:
        assert set(client.endpoints) == {path[1:] for path in endpoints(task)}


def test_the_page_shows_this_task_alone(server: Server, task: str, visit: Visit, tmp_path: Path) -> None:
    page = visit(server)
    expect(page.locator(".panel:visible")).to_have_count(1)
    expect(page.locator(f"#{task} .knows")).to_contain_text("Classes: ")
    expect(page.locator("#models .model")).to_have_count(1)
    page.locator(f"#{task} .samples button").first.click()
    expect(page.locator(f"#{task} .truth")).to_contain_text("the label is ")
    (tmp_path / "digit.png").write_bytes(sample_digit())
    if task == "image":
        page.set_input_files("#file", tmp_path / "digit.png")
        expect(page.get_by_alt_text("digit.png")).to_be_visible()
    else:
        page.get_by_label("Text to classify").fill(TEXT)
        page.get_by_role("button", name="Classify").click()
        expect(page.locator("#text .best .label")).to_have_text("Sports")
    expect(page.locator(f"#{task} .bars li")).not_to_have_count(0)


def test_the_api_page_runs_an_example(server: Server, task: str, visit: Visit) -> None:
    page = visit(server)
    page.goto(f"{server.url}/docs")
    operation = page.locator(f"[id$=-classify_{task}].opblock")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table tbody .response-col_status")).to_contain_text("200")
    expect(page.locator(f"[id*=classify_{OTHERS[task]}]")).to_have_count(0)
