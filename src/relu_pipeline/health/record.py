"""The health of a run as table rows: one for each layer and epoch."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from relu_pipeline.health.probe import LayerHealth

Row = dict[str, Any]
MEASURES = (*LayerHealth.__dataclass_fields__, "gradient_norm")
COLUMNS = ("epoch", "layer", *MEASURES)


def epoch_rows(epoch: int, layers: Mapping[str, LayerHealth], gradient_norms: Mapping[str, float]) -> list[Row]:
    """Layers in the order of computation. A layer without activation has a gradient only, a frozen one none."""
    rows = []
    for layer in dict.fromkeys([*layers, *gradient_norms]):
        row: Row = {"epoch": epoch, "layer": layer}
        if layer in layers:
            row |= asdict(layers[layer])
        if layer in gradient_norms:
            row["gradient_norm"] = gradient_norms[layer]
        rows.append(row)
    return rows


def as_metrics(rows: list[Row]) -> dict[str, float]:
    """`health/LAYER/MEASURE` for MLflow."""
    return {f"health/{row['layer']}/{name}": row[name] for row in rows for name in MEASURES if name in row}
