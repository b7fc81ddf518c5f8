"""The model card of an export."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relu_pipeline import artifacts
from relu_pipeline.artifacts import ColumnBaseline, Int8
from relu_pipeline.card.describe import describe
from relu_pipeline.card.facts import collect
from relu_pipeline.card.page import as_html, as_markdown
from relu_pipeline.config import Params
from relu_pipeline.task import Task


def write_card(
    task: Task[Any],
    params: Params,
    prepared: Path,
    reports: Path,
    models: Path,
    int8: Int8,
    relu_baseline: Mapping[str, ColumnBaseline],
) -> None:
    """Write `card.md` and `card.html` beside the graph in `models`. Raises ArtifactError."""
    card = describe(collect(task, params, prepared, reports, models, int8, relu_baseline))
    for name, content in ((artifacts.CARD, as_markdown(card)), (artifacts.CARD_PAGE, as_html(card, reports))):
        with artifacts.atomic_file(models / name) as partial:
            partial.write_text(content, encoding="utf-8")
