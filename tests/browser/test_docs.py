"""The API page in a browser: every example runs with one click."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import KEY, Visit
from tests.servers import Server

pytestmark = pytest.mark.slow

POSTS = ["classify_image", "classify_images", "classify_text", "classify_texts"]
GETS = ["info", "samples", "metrics", "livez", "readyz"]
IMAGE_TYPES = ["multipart/form-data", "image/png", "image/jpeg", "image/webp"]


def open_docs(visit: Visit, server: Server, refused: frozenset[int] = frozenset()) -> Page:
    page = visit(server, refused)
    page.goto(f"{server.url}/docs")
    return page


def unfold(page: Page, name: str) -> Locator:
    operation = page.locator(f"[id$=-{name}].opblock")
    operation.locator(".opblock-summary-control").click()
    return operation


def status(operation: Locator) -> Locator:
    return operation.locator(".live-responses-table tbody .response-col_status")


def body(operation: Locator) -> Locator:
    return operation.locator(".live-responses-table .highlight-code").first


def execute(operation: Locator) -> None:
    operation.get_by_role("button", name="Execute").click()


def test_every_example_runs_with_one_click(server: Server, visit: Visit) -> None:
    page = open_docs(visit, server)
    expect(page.locator(".opblock")).to_have_count(len(POSTS + GETS))
    for name in POSTS + GETS:
        operation = unfold(page, name)
        execute(operation)
        expect(status(operation)).to_have_text(re.compile("^200"))


@pytest.mark.parametrize("media_type", IMAGE_TYPES)
def test_an_image_is_sent_in_every_media_type(server: Server, visit: Visit, media_type: str) -> None:
    operation = unfold(open_docs(visit, server), "classify_image")
    operation.locator("select.content-type").first.select_option(media_type)
    execute(operation)
    expect(status(operation)).to_have_text(re.compile("^200"))
    expect(body(operation)).to_contain_text('"label"')


def test_each_sample_of_the_batch_has_a_prediction(server: Server, visit: Visit) -> None:
    operation = unfold(open_docs(visit, server), "classify_images")
    execute(operation)
    expect(body(operation)).to_contain_text('"predictions"')
    assert body(operation).inner_text().count('"top"') == 2


@pytest.mark.parametrize("media_type", IMAGE_TYPES[:2])
def test_the_chosen_file_is_sent(server: Server, visit: Visit, tmp_path: Path, media_type: str) -> None:
    wrong = tmp_path / "no_image.png"
    wrong.write_bytes(b"no image")
    operation = unfold(open_docs(visit, server, frozenset({400})), "classify_image")
    operation.locator("select.content-type").first.select_option(media_type)
    operation.locator("input[type=file]").set_input_files(wrong)
    execute(operation)
    expect(status(operation)).to_have_text(re.compile("^400"))
    expect(body(operation)).to_contain_text("invalid_image")


def test_the_files_of_a_batch_are_chosen_one_by_one(server: Server, visit: Visit, digit: Path) -> None:
    operation = unfold(open_docs(visit, server), "classify_images")
    for place in range(3):
        operation.get_by_role("button", name="Add").click()
        operation.locator("input[type=file]").nth(place).set_input_files(digit)
    execute(operation)
    expect(status(operation)).to_have_text(re.compile("^200"))
    assert body(operation).inner_text().count('"top"') == 3


def test_a_missing_body_is_an_error_of_the_service(server: Server, visit: Visit) -> None:
    operation = unfold(open_docs(visit, server, frozenset({400})), "classify_text")
    operation.locator("textarea").fill("")
    execute(operation)
    expect(body(operation)).to_contain_text("invalid_json")


def test_the_key_is_asked_for_once(guarded: Server, visit: Visit) -> None:
    page = open_docs(visit, guarded, frozenset({401}))
    operation = unfold(page, "classify_image")
    execute(operation)
    expect(status(operation)).to_have_text(re.compile("^401"))
    page.locator(".auth-wrapper .btn.authorize").click()
    page.locator(".modal-ux input").fill(KEY)
    page.locator(".modal-ux").get_by_role("button", name="Apply credentials").click()
    page.locator(".modal-ux").get_by_role("button", name="Close").click()
    execute(operation)
    expect(status(operation)).to_have_text(re.compile("^200"))


def test_the_key_of_the_web_page_is_used(guarded: Server, visit: Visit) -> None:
    page = visit(guarded, frozenset({401}))
    page.locator("#key").fill(KEY)
    page.locator("#key").press("Enter")
    expect(page.locator("#key-form")).to_be_hidden()
    page.goto(f"{guarded.url}/docs")
    operation = unfold(page, "info")
    execute(operation)
    expect(status(operation)).to_have_text(re.compile("^200"))
