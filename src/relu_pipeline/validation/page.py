"""The report on the data as a Markdown page."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from relu_pipeline import artifacts
from relu_pipeline.artifacts import DataReport, Duplicates, Pair
from relu_pipeline.errors import in_one_line
from relu_pipeline.markdown import plain, table

MAX_LEFT_OUT = 100  # excluded files or rows listed on the page

PAGE = """# Data: {name}

{errors}

{warnings}

![examples of each class by split, and the distribution of their sizes](data.png)

## Examples of each class

{classes}

## Sizes

{sizes}

## Duplicates

{duplicates}

## Contradicting labels

{contradictions}

## Left out

{left_out}
"""


def write_page(report: DataReport, path: Path) -> None:
    page = PAGE.format(
        name=plain(report.source.name),
        errors=_findings(report, "error", "Errors: the run stops", "No errors."),
        warnings=_findings(report, "warning", "Warnings: the run continues", "No warnings."),
        classes=_classes(report),
        sizes=_sizes(report),
        duplicates=_duplicates(report.duplicates),
        contradictions=_contradictions(report),
        left_out=_left_out(report),
    )
    with artifacts.atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _findings(report: DataReport, level: str, title: str, none: str) -> str:
    lines = [f"- {plain(finding.message)}" for finding in report.findings if finding.level == level]
    return "\n".join((f"## {title}", "", *lines)) if lines else none


def _classes(report: DataReport) -> str:
    rows = [(name, *(classes[name] for classes in report.rows.values())) for name in report.source.labels]
    totals = ("all", *(sum(classes.values()) for classes in report.rows.values()))
    return _table(("class", *report.rows), [*rows, totals])


def _sizes(report: DataReport) -> str:
    rows = [
        (name, split, *spread.model_dump().values())
        for name, spreads in report.sizes.items()
        for split, spread in spreads.items()
    ]
    return _table(("", "split", "smallest", "5 %", "median", "95 %", "largest"), rows)


def _duplicates(found: Sequence[Duplicates]) -> str:
    if not found:
        return "None."
    counts = [(each.kind, each.split, each.other, each.count) for each in found]
    pairs = [(each.kind, *_cells(pair)) for each in found for pair in each.examples]
    first = "The first of them:"
    return f"{_table(('', 'examples of', 'also in', 'count'), counts)}\n\n{first}\n\n{_pair_table(pairs)}"


def _contradictions(report: DataReport) -> str:
    found = report.contradictions
    if not found:
        return "None."
    counts = _table(("", "count"), [(each.kind, each.count) for each in found])
    pairs = _pair_table([(each.kind, *_cells(pair)) for each in found for pair in each.examples])
    return f"{counts}\n\nThe first of them:\n\n{pairs}"


def _left_out(report: DataReport) -> str:
    if not report.left_out:
        return "Nothing."
    lines = [(left.place, left.why) for left in report.left_out[:MAX_LEFT_OUT]]
    more = len(report.left_out) - len(lines)
    return _table(("where", "why"), lines) + (f"\n\n{more:,} more are in data.json." if more else "")


def _cells(pair: Pair) -> tuple[str, ...]:
    return pair.place, pair.label, pair.other_place, pair.other_label


def _pair_table(rows: Iterable[Sequence[str]]) -> str:
    return _table(("", "example", "label", "duplicate of", "label"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return table(head, ([_cell(value) for value in row] for row in rows))


def _cell(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, int | float) else in_one_line(str(value))
