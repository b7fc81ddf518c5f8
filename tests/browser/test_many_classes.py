"""77 classes, from prepared texts to the page: nothing grows beyond what a person can read."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Source
from relu_pipeline.config import TextPrepareConfig, load_params
from relu_pipeline.data import ag_news
from relu_pipeline.data.prepare import prepare_texts
from relu_pipeline.evaluation.evaluate import evaluate
from relu_pipeline.export.export import export
from relu_pipeline.models.catalogue import build_network
from relu_pipeline.models.checkpoint import save_checkpoint
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import NullRun
from tests.browser.conftest import Visit
from tests.reports import write_reports
from tests.servers import Server, start

pytestmark = pytest.mark.slow

CLASSES = 77
TALLEST_PX = 2500
LABELS = [f"reverted_card_payment_{number}?" for number in range(CLASSES)]


@pytest.fixture(scope="module")
def project(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts that name their class, and a network that has counted their words."""
    root, text = tmp_path_factory.mktemp("many"), TASKS["text"]
    raw, prepared, checkpoints, reports = (root / name for name in ("raw", "prepared", "checkpoints", "reports"))
    raw.mkdir()
    for name, rows in ((ag_news.TRAIN_FILE, 20), (ag_news.TEST_FILE, 4)):
        numbers = np.repeat(np.arange(CLASSES), rows).tolist()
        ag_news.write(raw / name, [(f"word{number}", "of a class") for number in numbers], numbers)
    files = {"name": "many", "format": "ag_news", "source": "demo", "sha256": "0" * 64, "files": []}
    rows = {"train": 20 * CLASSES, "test": 4 * CLASSES}
    artifacts.write(raw / "source.json", Source.model_validate(files | {"labels": LABELS, "rows": rows}))
    prepare_texts(raw, TextPrepareConfig(tokenizer="word", val_fraction=0.2, vocab_size=1000, max_tokens=32), prepared)
    train = text.load(prepared, "train")
    settings = {"embedding_dim": CLASSES, "hidden_dims": [128], "dropout": 0.0, "num_classes": CLASSES}
    settings |= text.network_settings(train, prepared)
    network = build_network("text_mlp", settings)
    text.fit_input(network, train)
    save_checkpoint(checkpoints / "best.ckpt", "text_mlp", settings, network.state_dict())
    artifacts.copy(trained / "text/relu_health.png", reports / "relu_health.png")
    evaluate(text, checkpoints / "best.ckpt", prepared, load_params().evaluate, NullRun(), reports)
    write_reports(prepared, reports)
    export(text, checkpoints / "best.ckpt", reports, prepared, load_params(), NullRun(), root / "models/text")
    return root


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[Server]:
    with start(project / "models") as running:
        yield running


def test_the_confusion_matrix_fits_a_screen(project: Path) -> None:
    with Image.open(project / "reports/confusion_matrix.png") as picture:
        assert max(picture.size) <= TALLEST_PX


def test_the_page_stays_short_and_no_words_overlap(server: Server, visit: Visit) -> None:
    page = visit(server)
    expect(page.locator("#text .knows")).to_have_text(f"Classes: {', '.join(LABELS[:12])}, and 65 more.")
    expect(page.locator("#text .samples li")).to_have_count(CLASSES)
    assert page.evaluate("document.documentElement.scrollHeight") <= TALLEST_PX
    overlaps = """() => [...document.querySelectorAll("#text .samples button")].filter((button) => {
        const [label, text] = [...button.children].map((child) => child.getBoundingClientRect());
        return label.right > text.left || label.right > button.getBoundingClientRect().right;
    }).length"""
    assert page.evaluate(overlaps) == 0
    page.locator("#text .samples button").last.click()
    expect(page.locator("#text .answer .bars li")).to_have_count(5)
