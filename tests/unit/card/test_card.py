"""The card of an exported model: what it says is what was measured, and nothing in the data can break it."""

import dataclasses
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt

from relu_pipeline import artifacts
from relu_pipeline.artifacts import DataReport, Duplicates, Finding, Manifest, Metrics, Pair, PreparedMeta
from relu_pipeline.card.describe import describe
from relu_pipeline.card.facts import Facts, collect
from relu_pipeline.card.page import WIDE, as_html, as_markdown
from relu_pipeline.config import load_params
from relu_pipeline.errors import ArtifactError
from relu_pipeline.evaluation.evaluate import evaluate
from relu_pipeline.export.export import export
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.run import NullRun
from tests.reports import write_reports

HOSTILE = ["<script>alert(1)</script>", "a|b", "two\nlines of $5$", '"><img src=x onerror=alert(1)> *C++*']
SHOWN = [HOSTILE[0], HOSTILE[1], repr(HOSTILE[2]), HOSTILE[3]]


class Page(HTMLParser):
    """Elements, attributes, and the text of each cell of a table."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.in_cell = False
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.in_cell = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif self.in_cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = False

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[-1][-1] += data


@dataclasses.dataclass
class Workspace:
    task: str
    prepared: Path
    reports: Path
    models: Path

    def export(self) -> Manifest:
        checkpoint = self.models.parent / "checkpoints/best.ckpt"
        return export(TASKS[self.task], checkpoint, self.reports, self.prepared, load_params(), NullRun(), self.models)

    def facts(self) -> Facts:
        manifest = artifacts.read(self.models / artifacts.MANIFEST, Manifest)
        folders = self.prepared, self.reports, self.models
        return collect(TASKS[self.task], load_params(), *folders, manifest.int8, manifest.relu_baseline)


def workspace(task: str, trained: Path, prepared: Path, root: Path, labels: list[str] | None = None) -> Workspace:
    """An exported model of the built-in data, whose classes are called `labels`."""
    made = Workspace(task, root / "prepared", root / "reports", root / "models")
    shutil.copytree(prepared / task, made.prepared)
    meta = artifacts.read(made.prepared / "meta.json", PreparedMeta)
    if labels:
        source = meta.source.model_copy(update={"labels": labels, "name": labels[0], "source": "published"})
        artifacts.write(made.prepared / "meta.json", meta.model_copy(update={"source": source}))
    checkpoint = root / "checkpoints/best.ckpt"
    artifacts.copy(trained / task / "best.ckpt", checkpoint)
    artifacts.copy(trained / task / artifacts.HEALTH_MAP, made.reports / artifacts.HEALTH_MAP)
    evaluate(TASKS[task], checkpoint, made.prepared, load_params().evaluate, NullRun(), made.reports)
    write_reports(made.prepared, made.reports)
    made.export()
    return made


@pytest.fixture(scope="module", params=["image", "text"])
def exported(
    request: pytest.FixtureRequest, trained: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    return workspace(request.param, trained, prepared, tmp_path_factory.mktemp("card"))


@pytest.fixture(scope="module")
def hostile(trained: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = workspace("text", trained, prepared, tmp_path_factory.mktemp("hostile"), HOSTILE)
    report = artifacts.read(made.reports / artifacts.DATA_REPORT, DataReport)
    finding = Finding(level="warning", message=f"train lacks {HOSTILE[0]}")
    artifacts.write(made.reports / artifacts.DATA_REPORT, report.model_copy(update={"findings": [finding]}))
    made.export()
    return made


def html_of(made: Workspace) -> str:
    return (made.models / artifacts.CARD_PAGE).read_text()


def markdown_of(made: Workspace) -> str:
    return (made.models / artifacts.CARD).read_text()


def test_a_card_names_data_model_and_metrics(exported: Workspace) -> None:
    meta = artifacts.read(exported.prepared / "meta.json", PreparedMeta)
    metrics = artifacts.read(exported.reports / artifacts.METRICS, Metrics)
    for content in (markdown_of(exported), html_of(exported)):
        for fact in (
            meta.source.sha256,
            artifacts.sha256_of(exported.models / artifacts.ONNX_MODEL),
            f"{metrics.accuracy:.4f}",
            f"{metrics.f1_macro:.4f}",
            f"{metrics.calibration_error:.4f}",
            *(f"{count:,}" for count in meta.rows.values()),
        ):
            assert fact in content
    cells = [cell for row in Page(html_of(exported)).rows for cell in row]
    assert set(meta.source.labels) < set(cells)


def test_parameters_have_the_numbers_that_were_used_and_the_names_of_dvc(exported: Workspace) -> None:
    rows = dict(row for row in Page(html_of(exported)).rows if len(row) == 2)
    task, given = exported.task, getattr(load_params(), exported.task)
    assert rows["seed"] == str(load_params().seed)
    assert re.fullmatch(r"\d+ \(auto in params.yaml\)", rows[f"{task}.train.max_epochs"])
    assert rows[f"{task}.train.weight_decay"] == str(given.train.weight_decay)
    if task == "image":
        assert rows["image.model.residual_cnn.widths"] == str(given.model.residual_cnn.widths)
        assert not [name for name in rows if ".plain_cnn." in name or ".timm." in name]


def test_the_same_contents_give_the_same_bytes(exported: Workspace) -> None:
    before = html_of(exported), markdown_of(exported)
    exported.export()
    assert (html_of(exported), markdown_of(exported)) == before


def test_a_card_of_demo_data_says_so_above_all_else(exported: Workspace, hostile: Workspace) -> None:
    for content in (markdown_of(exported), html_of(exported)):
        assert 0 < content.index("Demo data.") < content.index("Test accuracy")
    assert "Demo data" not in markdown_of(hostile) + html_of(hostile)


def test_the_page_needs_nothing_from_outside_and_runs_nothing(exported: Workspace, hostile: Workspace) -> None:
    for made in (exported, hostile):
        page = Page(html_of(made))
        assert not {"script", "iframe", "object", "embed", "form", "base", "svg", "math"} & set(page.tags)
        assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]
        sources = [value for name, value in page.attributes if name in ("src", "href", "srcset", "action")]
        assert sources
        assert all(source.startswith("data:") for source in sources)
        style = html_of(made).split("<style>")[1].split("</style>")[0]
        assert not re.search(r"url\(|@import", style)
        assert len(html_of(made)) < 700_000


def test_pictures_are_described(exported: Workspace) -> None:
    page = Page(html_of(exported))
    described = [value for name, value in page.attributes if name == "alt" and value]
    assert len(described) == page.tags.count("img") >= 2


def test_labels_are_shown_as_they_are(hostile: Workspace) -> None:
    content = html_of(hostile)
    first_cells = [row[0] for row in Page(content).rows]
    assert set(SHOWN) <= set(first_cells)
    assert "<li>warning: train lacks &lt;script&gt;" in content


def test_no_label_breaks_the_markdown(hostile: Workspace) -> None:
    """Not even where a renderer lets raw HTML pass."""
    page = Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown_of(hostile)))
    allowed = {"h1", "h2", "p", "ul", "ol", "li", "code", "table", "thead", "tbody", "tr", "th", "td", "strong"}
    assert set(page.tags) <= allowed
    assert set(SHOWN) <= {row[0] for row in page.rows}
    assert not [line for line in markdown_of(hostile).splitlines() if "|" in line and not line.startswith("| ")]


def test_a_text_of_mistakes_may_hold_anything(hostile: Workspace) -> None:
    mistake = {"actual": HOSTILE[0], "predicted": HOSTILE[1], "probability": "0.9", "row": "7"}
    text = "| a |\n\n<script>x</script> ![b](http://c) " + "long " * 200
    facts = dataclasses.replace(hostile.facts(), mistakes=[mistake | {"text": text}])
    content = as_html(describe(facts), hostile.reports)
    (item,) = (line for line in content.splitlines() if "| a |" in line)
    assert "probability 0.9: | a | &lt;script&gt;x&lt;/script&gt; ![b](http://c) long" in item
    assert len(item) < 600
    assert "script" not in Page(content).tags


def test_many_classes_stay_readable(exported: Workspace) -> None:
    facts = exported.facts()
    labels = [f"class {number}" for number in range(150)]
    source = facts.meta.source.model_copy(update={"labels": labels})
    scores = {"precision": "0.5", "recall": "0.5", "rows": "10"}
    many = dataclasses.replace(
        facts,
        meta=facts.meta.model_copy(update={"source": source}),
        data=facts.data.model_copy(update={"rows": {"train": {label: 10 + row for row, label in enumerate(labels)}}}),
        confusion=np.eye(150, dtype=np.int64) * 9 + np.eye(150, k=1, dtype=np.int64),
        by_class=[{"class": label, "f1": f"{number / 150}"} | scores for number, label in enumerate(labels)],
    )
    card = describe(many)
    page = Page(as_html(card, exported.reports))
    assert max(len(table.splitlines()) for table in as_markdown(card).split("\n\n") if table.startswith("|")) < 40
    assert artifacts.CONFUSION_PNG not in [section.picture for section in card.sections]
    assert ["class 0", "class 1", "1", "10.0 %"] in page.rows
    assert ["class 0", "0.500", "0.500", "0.000", "10"] in page.rows
    assert "class 149" not in [row[0] for row in page.rows]
    assert "and 130 more" in as_markdown(card)


def test_what_was_refused_or_left_out_is_said(exported: Workspace) -> None:
    facts = exported.facts()
    pair = Pair(place="test row 1", label="a", other_place="train row 1", other_label="a")
    shared = Duplicates(kind="exact", split="test", other="train", count=12, examples=[pair])
    odd = dataclasses.replace(
        facts,
        params=facts.params.model_copy(update={"export": facts.params.export.model_copy(update={"prune": False})}),
        int8=facts.int8.model_copy(update={"refused": "it loses 0.1 of validation accuracy"}),
        data=facts.data.model_copy(update={"duplicates": [shared]}),
        pruning=facts.pruning.model_copy(update={"layers": [], "measured_rows": 0}),
        relu_baseline={},
        confusion=np.diag(np.full(len(facts.labels), 5)),
        mistakes=[],
    )
    content = as_markdown(describe(odd))
    for sentence in (
        "The service does not use this graph: it loses 0.1 of validation accuracy.",
        "Pruning of dead units: off",
        "There is no ReLU layer.",
        "12 test examples equal training examples; the metrics may be optimistic.",
        "The model predicted the true class of every test example.",
        "The model made no mistake on the test split.",
    ):
        assert sentence in content


def test_a_report_that_is_missing_is_named(exported: Workspace, tmp_path: Path) -> None:
    shutil.copytree(exported.reports, tmp_path / "reports")
    (tmp_path / "reports/drift.csv").unlink()
    with pytest.raises(ArtifactError, match=r"drift\.csv: no such file; check the path, or make it with `dvc repro`"):
        dataclasses.replace(exported, reports=tmp_path / "reports").export()


def test_own_data_are_called_so_and_their_folder_stays_private(exported: Workspace) -> None:
    facts = exported.facts()
    own = {"source": "own", "name": "invoices-2031", "folder": "/home/me/invoices-2031"}
    meta = facts.meta.model_copy(update={"source": facts.meta.source.model_copy(update=own)})
    content = as_markdown(describe(dataclasses.replace(facts, meta=meta)))
    assert "the user's own data" in content
    assert "invoices" not in content


@pytest.mark.parametrize(
    ("dead", "removed", "sentence"),
    [
        (0, 0, "Pruning of dead units: no unit is dead."),
        (3, 0, "Pruning of dead units: 3 units are dead; none was removed."),
        (3, 2, "Pruning of dead units: 2 of 3 dead units were removed; no predicted class changed."),
    ],
)
def test_dead_and_removed_units_are_told(exported: Workspace, dead: int, removed: int, sentence: str) -> None:
    facts = exported.facts()
    pruning = facts.pruning.model_copy(update={"dead": dead, "removed": removed, "refused": None})
    assert sentence in as_markdown(describe(dataclasses.replace(facts, pruning=pruning)))


def test_the_table_of_drift_has_the_delay_of_the_alarm_or_why_there_is_none(exported: Workspace) -> None:
    facts = exported.facts()
    few = {**facts.drift[0], "shift": "blur", "rows_until_alarm_combined": "", "alarms_combined": ""}
    card = describe(dataclasses.replace(facts, drift=[*facts.drift, few]))
    rows = {row[0]: row[1:] for row in Page(as_html(card, exported.reports)).rows}
    assert rows["unshifted"] == ["2,000", "0.500", "never", "0 %"]
    assert rows["noise"] == ["2,000", "0.900", "100", "100 %"]
    assert rows["blur"] == ["2,000", "0.500", "too few examples", ""]


@pytest.mark.parametrize(
    ("loss", "val_loss", "words"),
    [
        (0.0123, -0.004, "1.23 points below float32 (validation: 0.40 points above float32)"),
        (-0.004, 0.0, "0.40 points above float32 (validation: the same as in float32)"),
    ],
)
def test_the_accuracy_of_int8_is_compared_with_float32(
    exported: Workspace, loss: float, val_loss: float, words: str
) -> None:
    facts = exported.facts()
    int8 = facts.int8.model_copy(update={"accuracy_loss": loss, "val_accuracy_loss": val_loss})
    assert words in as_markdown(describe(dataclasses.replace(facts, int8=int8)))


def test_wide_pictures_are_told_apart_from_those_that_fit_a_phone(exported: Workspace) -> None:
    found = re.findall(r'class="(\w+)" width="(\d+)"', html_of(exported))
    assert {kind for kind, _ in found} == {"wide", "narrow"}  # the health map is 11 inches wide, the reliability 5
    assert all((kind == "wide") == (int(width) > WIDE) for kind, width in found)
