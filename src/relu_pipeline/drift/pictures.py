"""Figure of drift detection."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from relu_pipeline.figures import save_figure

SIGNALS = {
    "zero_shares": "zero fractions",
    "max_softmax": "maximum softmax",
    "combined": "both, as in the service",
}


def draw_drift(rows: Sequence[Mapping[str, Any]], stream_rows: int, path: Path) -> None:
    """Draw the AUROC of single examples and the delay until the alarm, by shift and signal."""
    figure = Figure(figsize=(11, 1.6 + 0.65 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(rows))
    for offset, (signal, label) in zip((-0.27, 0, 0.27), SIGNALS.items(), strict=True):
        left.barh(places + offset, [row[f"auroc_{signal}"] for row in rows], 0.25, label=label)
        delays = [row[f"rows_until_alarm_{signal}"] for row in rows]
        bars = right.barh(places + offset, [delay or 0 for delay in delays], 0.25)
        never = ["too few examples to decide" if row[f"alarms_{signal}"] is None else "never" for row in rows]
        words = [no if delay is None else str(delay) for delay, no in zip(delays, never, strict=True)]
        right.bar_label(bars, words, padding=3, fontsize=7)
    left.axvline(0.5, color="grey", linestyle="--", linewidth=1)
    left.set_yticks(places, [row["shift"] for row in rows])
    left.invert_yaxis()
    left.set(xlim=(0, 1), xlabel="AUROC, shifted against unshifted examples (0.5: chance)", title="Single examples")
    right.set(xlabel="shifted examples until the alarm, median", title=f"Streams of {stream_rows:,} examples")
    right.margins(x=0.1)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    save_figure(figure, path)
