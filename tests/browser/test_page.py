"""The web page in a browser."""

import base64
import http.client
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import KEY, OFFLINE, Visit
from tests.servers import Server, copy_project, start

TEXT = "The striker wins the cup final"
TASKS = ("image", "text")
PHONE = {"width": 360, "height": 740}
pytestmark = pytest.mark.slow


def answered_image(server: Server, path: Path) -> dict[str, Any]:
    """Return the answer that another client gets."""
    return requests.post(f"{server.url}/classify_image", files={"image": path.read_bytes()}, timeout=10).json()


def answered_text(server: Server, text: str) -> dict[str, Any]:
    return requests.post(f"{server.url}/classify_text", json={"text": text}, timeout=10).json()


def samples(server: Server) -> dict[str, Any]:
    return requests.get(f"{server.url}/samples", timeout=10).json()


def shares(panel: Locator) -> list[float]:
    """Return the lengths of the bars, from 0 to 1, once they no longer grow."""
    return panel.locator(".bars .fill").evaluate_all(
        """fills => Promise.all(fills.map(async fill => {
             await new Promise(resolve => setTimeout(resolve, 100));
             await Promise.all(fill.getAnimations().map(animation => animation.finished));
             return fill.getBoundingClientRect().width / fill.parentElement.getBoundingClientRect().width;
           }))"""
    )


def expect_answer(page: Page, task: str, answer: dict[str, Any]) -> None:
    panel, model = page.locator(f"#{task}"), answer["model"]
    expect(panel.locator(".best .label")).to_have_text(answer["label"])
    expect(panel.locator(".bars .name")).to_have_text([score["label"] for score in answer["top"]])
    assert shares(panel) == pytest.approx([score["probability"] for score in answer["top"]], abs=0.01)
    expect(panel.locator("[role=status]")).to_contain_text(answer["label"])
    signature = panel.locator(".signature").inner_text().replace("\N{NO-BREAK SPACE}", " ")
    assert re.match(r"[\d.]+ ms round trip", signature)
    assert f"{model['name']} {model['version']}" in signature
    assert model["sha256"][:8] in signature


def test_a_chosen_image_has_the_answer_that_other_clients_get(server: Server, visit: Visit, digit: Path) -> None:
    page = visit(server)
    page.set_input_files("#file", digit)
    expect_answer(page, "image", answered_image(server, digit))
    expect(page.get_by_alt_text("The image that was sent: seven.png")).to_be_visible()


def test_an_image_can_be_dropped(server: Server, visit: Visit, digit: Path) -> None:
    page = visit(server)
    expect(page.locator("#image")).to_be_visible()  # until then, the page does not know that the service takes images
    box = page.locator(".drop").bounding_box()
    assert box is not None
    devtools = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(digit)], "dragOperationsMask": 1}
    for step in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        devtools.send("Input.dispatchDragEvent", {"type": step, "data": data, **place})
        if step == "dragOver":
            expect(page.locator("body.dragging")).to_be_visible()
    expect(page.locator("body.dragging")).to_have_count(0)
    expect_answer(page, "image", answered_image(server, digit))


def test_an_image_can_be_pasted(server: Server, visit: Visit, digit: Path) -> None:
    page = visit(server, permissions=["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async content => {
             const bytes = Uint8Array.from(atob(content), character => character.charCodeAt(0));
             const blob = new Blob([bytes], { type: "image/png" });
             await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
           }""",
        base64.b64encode(digit.read_bytes()).decode(),
    )
    expect(page.locator("#image")).to_be_visible()  # until then, the page does not know that the service takes images
    page.keyboard.press("Control+V")
    expect_answer(page, "image", answered_image(server, digit))


def test_a_text_is_sent_by_button_and_by_keys(server: Server, visit: Visit) -> None:
    page = visit(server)
    page.get_by_label("Text to classify").fill(TEXT)
    page.get_by_role("button", name="Classify").click()
    expect_answer(page, "text", answered_text(server, TEXT))
    other = "a new chip is unveiled"
    page.get_by_label("Text to classify").fill(other)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#text .truth")).to_have_text("")
    expect_answer(page, "text", answered_text(server, other))


def test_a_probability_stays_on_one_line(server: Server, visit: Visit) -> None:
    answer = answered_text(server, TEXT)
    answer["top"][0]["probability"] = 0.9999
    page = visit(server)
    page.route("**/classify_text", lambda route: route.fulfill(json=answer))
    page.locator("#words").fill(TEXT)
    page.get_by_role("button", name="Classify").click()
    values = page.locator("#text .bars .value")
    expect(values.first).to_have_text("> 99.9 %")
    heights = values.evaluate_all("values => values.map(value => value.offsetHeight)")
    assert set(heights) == {min(heights)}


def test_each_sample_shows_its_true_label_and_an_answer(server: Server, visit: Visit) -> None:
    page, offered = visit(server), samples(server)
    for task in TASKS:
        panel = page.locator(f"#{task}")
        expect(panel.locator(".samples .true")).to_have_text([sample["label"] for sample in offered[task]])
        for index, sample in enumerate(offered[task]):
            panel.locator(".samples button").nth(index).click()
            expect(panel.locator(".truth")).to_contain_text(f"the label is {sample['label']}")
            verdict = "correct" if panel.locator(".best .label").inner_text() == sample["label"] else "wrong"
            expect(panel.locator(".truth")).to_have_text(f"{verdict}; the label is {sample['label']}")
    expect(page.get_by_label("Text to classify")).to_have_value(offered["text"][-1]["text"])
    expect_answer(page, "text", answered_text(server, offered["text"][-1]["text"]))


OUTLINED = """element => [element, ...(element.labels ?? [])]
  .some(at => getComputedStyle(at).outlineStyle === "solid" && getComputedStyle(at).outlineWidth === "3px")"""


def tab_to(page: Page, target: Locator) -> None:
    """Move the focus with the keyboard alone. The element must show that it has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            assert target.evaluate(OUTLINED)
            return
    raise AssertionError(f"the Tab key does not lead to {target}")


def test_the_keyboard_is_enough(server: Server, visit: Visit, digit: Path) -> None:
    page = visit(server)
    expect(page.locator("#text .samples button")).not_to_have_count(0)
    tab_to(page, page.get_by_role("link", name="Skip to the content"))
    with page.expect_file_chooser() as chosen:
        # Within, not before: a key can overtake the order to catch the chooser, and headless Chromium cancels it.
        tab_to(page, page.locator("#file"))
        page.keyboard.press("Enter")
    chosen.value.set_files(digit)
    expect_answer(page, "image", answered_image(server, digit))
    tab_to(page, page.locator("#image .samples button").first)
    page.keyboard.press("Enter")
    expect(page.locator("#image .truth")).to_contain_text(f"the label is {samples(server)['image'][0]['label']}")
    tab_to(page, page.get_by_label("Text to classify"))
    page.keyboard.type(TEXT)
    tab_to(page, page.get_by_role("button", name="Classify"))
    page.keyboard.press("Space")
    expect_answer(page, "text", answered_text(server, TEXT))


def test_a_broken_file_and_an_empty_text_are_explained(server: Server, visit: Visit, tmp_path: Path) -> None:
    page = visit(server, refused=frozenset({400}))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    page.set_input_files("#file", broken)
    problem = page.locator("#image").get_by_role("alert")
    expect(problem).to_contain_text("The input is not valid")
    expect(problem).to_contain_text("The file is not a readable PNG, JPEG or WebP image.")
    expect(page.locator(".preview")).to_be_hidden()
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#text .reason")).to_have_text("The text is empty.")


def test_an_image_of_too_many_pixels_is_explained(server: Server, visit: Visit, tmp_path: Path) -> None:
    page = visit(server, refused=frozenset({413}))
    Image.new("L", (8000, 8000)).save(tmp_path / "huge.png")
    page.set_input_files("#file", tmp_path / "huge.png")
    expect(page.locator("#image").get_by_role("alert")).to_contain_text("8,000 x 8,000 pixels")


def test_a_key_is_asked_for_kept_for_the_tab_and_forgotten(guarded: Server, visit: Visit, digit: Path) -> None:
    page = visit(guarded, refused=frozenset({401}))
    field = page.get_by_label("This service requires a key")
    expect(field).to_be_focused()
    page.set_input_files("#file", digit)
    expect(page.locator("#image").get_by_role("alert")).to_contain_text("The service requires a key")
    field.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key-note")).to_have_text("The service rejected this key.")
    field.fill(KEY)
    page.keyboard.press("Enter")
    expect(field).to_be_hidden()
    expect(page.locator("#image .bars li")).not_to_have_count(0)  # the request is repeated with the key
    expect_pictures(page)
    page.reload()
    expect_pictures(page)
    assert KEY not in json.dumps(page.evaluate("[document.cookie, {...localStorage}]"), ensure_ascii=False)
    page.get_by_role("button", name="Forget the key").click()
    expect(field).to_be_focused()


def expect_pictures(page: Page) -> None:
    """Wait until all images of the page are there."""
    expect(page.locator(".map img[src]")).to_have_count(2)
    expect(page.locator("#image .samples img")).not_to_have_count(0)
    for picture in page.locator(".map img, .samples img").all():
        picture.evaluate("image => image.decode()")
        assert picture.evaluate("image => image.naturalWidth") > 0


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_health_of_both_models_is_shown(models: Path, visit: Visit, tmp_path: Path, precision: str) -> None:
    project = copy_project(tmp_path / "project", precision=precision)
    with start(models, project=project) as server:
        page, info = visit(server), requests.get(f"{server.url}/info", timeout=10).json()
        expect_pictures(page)
        expect_described(page, info, precision)


def expect_described(page: Page, info: dict[str, Any], precision: str) -> None:
    for task in TASKS:
        card, manifest = page.locator(f"#model-{task}"), info["models"][task]
        expect(card.get_by_role("heading")).to_have_text(manifest["name"])
        expect(card.locator(".version")).to_have_text(manifest["version"])
        graph, accuracy = {
            "fp32": ("model.onnx", manifest["test_metrics"]["accuracy"]),
            "int8": ("model.int8.onnx", manifest["int8"]["accuracy"]),
        }[precision]
        expect(card.locator(".graph")).to_have_text(f"{precision}, sha256 {manifest['files'][graph][:8]}")
        expect(card.locator(".accuracy")).to_have_text(f"{100 * accuracy:.1f} %")
        expect(card.locator(".state")).to_have_text(re.compile(r"not known yet: \d+ of 500 examples"))
        assert task in (card.get_by_role("img").get_attribute("alt") or "")
        assert card.get_by_role("img").evaluate("image => image.naturalWidth") > 1000


def test_the_card_of_a_model_is_a_link_away(server: Server, visit: Visit) -> None:
    for task in TASKS:
        page = visit(server)
        page.locator(f"#model-{task}").get_by_role("link", name="Model card").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"{task} classifier")
        expect(page.locator("blockquote")).to_contain_text("Demo data.")
        pictures = page.locator("figure img")
        assert min(pictures.evaluate_all("found => found.map(image => image.naturalWidth)")) > 300
        # The policy lets its own style pass.
        assert page.locator("table").first.evaluate("found => getComputedStyle(found).borderCollapse") == "collapse"
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_with_a_key_the_card_is_saved(models: Path, guarded: Server, visit: Visit) -> None:
    page = visit(guarded, refused=frozenset({401}))
    page.get_by_label("This service requires a key").fill(KEY)
    page.keyboard.press("Enter")
    with page.expect_download() as saved:
        page.locator("#model-text").get_by_role("link", name="Model card").click()
    assert saved.value.suggested_filename == "card-text.html"
    assert saved.value.path().read_bytes() == (models / "text/card.html").read_bytes()


def test_the_page_shows_drift(models: Path, visit: Visit, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project", workers=1)  # each worker has a window of its own
    with start(models, project=project) as server:
        page = visit(server)
        state = page.locator("#model-text .state")
        expect(state).to_have_text("not known yet: 0 of 500 examples")
        texts = {"texts": ["the the the"] * 250}
        for _ in range(2):
            requests.post(f"{server.url}/classify_texts", json=texts, timeout=10).raise_for_status()
        expect(state).to_have_text(re.compile(r"[\d.]+, above the threshold of 0\.22 since "))
        expect(page.locator("#model-text .drift.raised")).to_be_visible()
        expect(page.locator("#model-text .meaning")).to_contain_text(
            "The last 500 texts differ from the validation split"
        )
        expect(page.locator("#model-text .meaning")).to_contain_text("The predictions may still be right")
        expect(page.locator("#model-image .meaning")).to_be_hidden()
        expect(page.locator("#model-image .watches")).to_have_text(
            re.compile(r"It compares the zero fractions of \d+ ReLU layers and the confidence\.")
        )


def test_the_page_says_that_a_network_without_relu_is_watched_by_its_confidence(
    gelu_models: Path, visit: Visit
) -> None:
    with start(gelu_models) as server:
        card = visit(server).locator("#model-image")
        expect(card.locator(".watches")).to_contain_text("It compares only the confidence, because")
        expect(card.locator(".zeros")).to_have_text("the network has no ReLU layer")


def test_the_page_says_that_validation_examples_are_too_few_to_tell_drift(
    models: Path, visit: Visit, tmp_path: Path
) -> None:
    shutil.copytree(models / "text", tmp_path / "models/text")
    path = tmp_path / "models/text/manifest.json"
    path.write_text(re.sub(r'"rows": \d+', '"rows": 30', path.read_text()))
    with start(tmp_path / "models") as server:
        state = visit(server).locator("#model-text .state")
        expect(state).to_contain_text("not available: 30 validation examples and a window of 500 are too few")


def test_the_page_shows_a_swapped_model(models: Path, visit: Visit, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models")
    with start(tmp_path / "models") as server:
        page = visit(server)
        path = tmp_path / "models/text/manifest.json"
        version = json.loads(path.read_text())["version"]
        expect(page.locator("#model-text .version")).to_have_text(version)
        path.write_text(path.read_text().replace(f'"{version}"', '"demo-1"'))
        expect(page.locator("#model-text .version")).to_have_text("demo-1")
        (tmp_path / "models/text/samples.json").write_text("altered")
        path.write_text(path.read_text().replace('"demo-1"', '"demo-2"'))
        expect(page.locator("#model-text .refused")).to_contain_text("samples.json")


def test_the_page_waits_for_a_service_that_is_away(server: Server, visit: Visit) -> None:
    page = visit(server, refused=frozenset({OFFLINE}))
    expect_pictures(page)
    page.context.set_offline(True)
    expect(page.locator("#notice")).to_contain_text("The service does not respond")
    page.context.set_offline(False)
    expect(page.locator("#notice")).to_be_hidden(timeout=10_000)


def test_a_phone_needs_no_sideways_scrolling(server: Server, visit: Visit, digit: Path) -> None:
    page = visit(server, viewport=PHONE, has_touch=True, is_mobile=True)
    expect_pictures(page)
    page.set_input_files("#file", digit)
    page.get_by_label("Text to classify").fill("unbroken" * 60)
    page.get_by_role("button", name="Classify").tap()
    expect(page.locator(".bars")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    for target in page.locator("button:visible, footer a").all():
        box = target.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 24  # WCAG 2.2, 2.5.8


CONTRAST = """() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = colour => numbers(colour).slice(0, 3).map(value => value / 255)
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = element => {
    const colour = getComputedStyle(element).backgroundColor;
    return numbers(colour)[3] === 0 ? ground(element.parentElement) : colour;
  };
  const hasText = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  return [...document.body.querySelectorAll("*")].filter(at => hasText(at) && at.checkVisibility()).map(at => {
    const [low, high] = [getComputedStyle(at).color, ground(at)].map(luminance).sort((a, b) => a - b);
    return [at.outerHTML.slice(0, 80), (high + 0.05) / (low + 0.05)];
  });
}"""  # WCAG 2.2, 1.4.3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_are_legible(server: Server, visit: Visit, tmp_path: Path, scheme: str) -> None:
    page = visit(server, refused=frozenset({400}), color_scheme=scheme, reduced_motion="reduce")
    expect_pictures(page)
    page.locator("#text .samples button").first.click()
    expect(page.locator("#text .bars li")).not_to_have_count(0)
    (tmp_path / "broken.png").write_bytes(b"no image")
    page.set_input_files("#file", tmp_path / "broken.png")
    expect(page.locator("#image .problem")).to_be_visible()
    found = page.evaluate(CONTRAST)
    assert len(found) > 40
    assert [(what, ratio) for what, ratio in found if ratio < 4.5] == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 20, 19)"
    assert dark == (scheme == "dark")


def test_reduced_motion_is_respected(server: Server, visit: Visit) -> None:
    moving = "getComputedStyle(document.querySelector('.fill, .drop label')).transitionDuration !== '0s'"
    assert visit(server).evaluate(moving)
    assert not visit(server, reduced_motion="reduce").evaluate(moving)


@pytest.mark.parametrize(
    "path", ["/static/../settings.py", "/static/%2e%2e/settings.py", "/static/..%2fpages.py", "/static/"]
)
def test_only_the_files_of_the_page_are_served(server: Server, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", path)  # unchanged; requests would normalize it
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]["code"]) == (404, "not_found")
    connection.close()
