"""Table of the ReLU health of a run, with a row per layer and epoch."""

import csv
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from relu_pipeline.health.probe import LayerHealth

Row = dict[str, Any]
MEASURES = (*LayerHealth.__dataclass_fields__, "gradient_norm")
COLUMNS = ("epoch", "layer", *MEASURES)


def epoch_rows(epoch: int, layers: Mapping[str, LayerHealth], gradient_norms: Mapping[str, float]) -> list[Row]:
    """Return the rows of an epoch, with layers in computation order.

    A layer without activation has only a gradient norm; a frozen layer has none.
    """
    rows = []
    for layer in dict.fromkeys([*layers, *gradient_norms]):
        row: Row = {"epoch": epoch, "layer": layer}
        if layer in layers:
            row |= asdict(layers[layer])
        if layer in gradient_norms:
            row["gradient_norm"] = gradient_norms[layer]
        rows.append(row)
    return rows


def read_rows(path: Path) -> list[Row]:
    """Return the rows of `relu_health.csv`; a row has no key for an empty cell."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: _value(name, cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def _value(name: str, cell: str) -> str | int | float:
    if name == "layer":
        return cell
    return int(cell) if name == "epoch" else float(cell)


def summary(rows: list[Row]) -> dict[str, float]:
    """Return metrics of one epoch over all layers, to compare runs.

    A network without activations has only gradient norms.
    """
    active = [row for row in rows if "zero_share" in row]
    norms = [row["gradient_norm"] for row in rows if "gradient_norm" in row]
    metrics: dict[str, float] = {}
    if active:
        metrics["health/mean_zero_share"] = sum(row["zero_share"] for row in active) / len(active)
        metrics["health/dead_units"] = sum(row["dead_units"] for row in active)
        metrics["health/largest_activation_p99"] = max(row["p99"] for row in active)
    if norms:
        metrics |= {"health/smallest_gradient_norm": min(norms), "health/largest_gradient_norm": max(norms)}
    return metrics
