"""Panels of a Grafana dashboard, drawn with Matplotlib: lines, stacked areas, bars and a table."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, FuncFormatter, MaxNLocator, MultipleLocator, PercentFormatter
from matplotlib.transforms import Bbox

GRID_COLUMNS = 24  # of Grafana
DPI = 100
WIDTH, HEAD, ROW = 1400, 60, 44  # all sizes are in pixels
GAP, TITLE, LEFT, RIGHT, TICKS, LEGEND_ROW = 8, 54, 96, 24, 36, 26
LEGEND_CHARS = 57  # of a row
LEGEND_MARK_CHARS = 6
CELL_CHARS = 24
TABLE_ROW, TABLE_TOP = 0.2, 0.8  # of the height of the card
FONT, SMALL = 14, 12  # points
NOTE = "drawn with Matplotlib from the queries of deploy/grafana/dashboard.json"
UNITS: dict[str, Formatter] = {
    "reqps": FuncFormatter(lambda value, _: f"{value:g} req/s"),
    "s": EngFormatter("s"),
    "short": FuncFormatter(lambda value, _: f"{value:g}"),
    "percentunit": PercentFormatter(1, decimals=0, symbol=" %"),
}


@dataclass(frozen=True)
class Series:
    """What a query gave for one combination of labels: `points` of seconds and values."""

    legend: str  # as in the dashboard: names of labels stand in double braces
    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]

    @property
    def name(self) -> str:
        return re.sub(r"\{\{(\w+)\}\}", lambda found: self.labels[found[1]], self.legend)


def draw_panels(dashboard: Mapping[str, Any], series: Mapping[int, Sequence[Series]], seconds: float) -> bytes:
    """Return a PNG of all panels; `series` by the id of the panel, from 0 to `seconds`."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    size = (WIDTH / DPI, (HEAD + ROW * rows + GAP) / DPI)
    figure = Figure(figsize=size, dpi=DPI, facecolor="#eef0f2")
    head = place(figure, 0, 0, WIDTH, HEAD)
    head.set_axis_off()
    head.text(0.01, 0.45, dashboard["title"], fontsize=19, fontweight="bold", va="center")
    head.text(0.99, 0.45, NOTE, fontsize=FONT, color="0.35", va="center", ha="right")
    for panel in dashboard["panels"]:
        draw_panel(figure, panel, series[panel["id"]], seconds)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Return new axes; `left` and `top` count from the upper left corner of the figure."""
    whole_width, whole_height = figure.get_size_inches() * DPI
    bottom = 1 - (top + height) / whole_height
    return figure.add_axes((left / whole_width, bottom, width / whole_width, height / whole_height))


def draw_panel(figure: Figure, panel: Mapping[str, Any], series: Sequence[Series], seconds: float) -> None:
    grid = panel["gridPos"]
    left, top = WIDTH / GRID_COLUMNS * grid["x"] + GAP / 2, HEAD + ROW * grid["y"]
    width, height = WIDTH / GRID_COLUMNS * grid["w"] - GAP, ROW * grid["h"] - GAP
    card = place(figure, left, top, width, height)
    card.set(xticks=[], yticks=[], facecolor="white")
    card.spines[:].set_color("#d5d8dc")
    card.set_title(panel["title"], loc="left", x=GAP / width, y=1, pad=-24, fontsize=FONT, fontweight="bold")
    if not series:
        card.text(0.5, 0.5, "No data", fontsize=FONT, color="0.5", ha="center", va="center")
        return
    if panel["type"] == "table":
        draw_table(card, panel, series)
        return
    columns = legend_columns(series)
    legend = LEGEND_ROW * -(-len(series) // columns) + GAP
    inner = (left + LEFT, top + TITLE, width - LEFT - RIGHT, height - TITLE - TICKS - legend)
    axes = place(figure, *inner)
    draw_series(axes, panel["fieldConfig"]["defaults"], series)
    axes.set_xlim(0, seconds)
    card.legend(
        *axes.get_legend_handles_labels(),
        loc="lower left",
        ncols=columns,
        fontsize=SMALL,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.2,
        columnspacing=1.2,
        labelspacing=0.3,
    )


def legend_columns(series: Sequence[Series]) -> int:
    longest = max(len(one.name) for one in series)
    return max(1, min(len(series), LEGEND_CHARS // (longest + LEGEND_MARK_CHARS)))


def draw_series(axes: Axes, options: Mapping[str, Any], series: Sequence[Series]) -> None:
    """Draw lines, areas on top of each other, or bars, as `options`, a panel's `fieldConfig.defaults`, asks."""
    custom = options["custom"]
    times = sorted({at for one in series for at, _ in one.points})
    if custom.get("stacking", {}).get("mode") == "normal":
        stack = [np.nan_to_num(values_at(times, one)) for one in series]
        axes.stackplot(times, *stack, labels=[one.name for one in series], alpha=0.75)
    else:
        for number, one in enumerate(series):
            draw_one = axes.bar if custom.get("drawStyle") == "bars" else axes.plot
            draw_one(times, values_at(times, one), color=f"C{number}", label=one.name)
    for step in options.get("thresholds", {}).get("steps", []):
        if step["value"] is not None:
            axes.axhline(step["value"], color=step["color"], linestyle="--", linewidth=1)
    axes.set_ylim(options.get("min"), options.get("max"))
    axes.yaxis.set_major_formatter(UNITS[options["unit"]])
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MultipleLocator(15))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:g} s"))
    axes.tick_params(labelsize=SMALL, length=0, pad=7)
    axes.spines[:].set_visible(False)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)


def values_at(times: Sequence[float], series: Series) -> np.ndarray:
    """Return a value for each time; NaN where the series has none."""
    known = dict(series.points)
    return np.array([known.get(at, np.nan) for at in times])


def draw_table(card: Axes, panel: Mapping[str, Any], series: Sequence[Series]) -> None:
    """Draw a row for each series, with its labels in the order of the panel's first transformation."""
    order: Mapping[str, int] = panel["transformations"][0]["options"]["indexByName"]
    columns = sorted(order, key=order.__getitem__)
    rows = [[shorten(one.labels[column]) for column in columns] for one in series]
    widths = [max(map(len, cells)) + 2 for cells in zip(columns, *rows, strict=True)]
    height = TABLE_ROW * (len(rows) + 1)
    table = card.table(
        rows,
        colLabels=columns,
        colWidths=[width / sum(widths) for width in widths],
        cellLoc="left",
        colLoc="left",
        edges="horizontal",
        bbox=Bbox.from_bounds(0.003, TABLE_TOP - height, 0.994, height),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(SMALL)
    for (row, _), cell in table.get_celld().items():
        cell.set(edgecolor="0.88")
        cell.PAD = 0.04
        if row == 0:
            cell.set_text_props(fontweight="bold", color="0.35")


def shorten(text: str) -> str:
    return text if len(text) <= CELL_CHARS else f"{text[:CELL_CHARS]}…"
