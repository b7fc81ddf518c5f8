"""The report as text."""

from relu_pipeline.artifacts import PrunedLayer, Pruning


def as_table(report: Pruning) -> str:
    """Costs before and after, what each layer lost and how that is known, how far the answers moved."""
    before, after = report.before, report.after
    costs = [
        ("", "before", "after"),
        ("parameters", f"{before.parameters:,}", f"{after.parameters:,}"),
        ("multiply-adds", f"{before.multiply_adds:,}", f"{after.multiply_adds:,}"),
        ("file, bytes", f"{before.file_bytes:,}", f"{after.file_bytes:,}"),
        ("latency, ms", f"{before.latency_ms:.3f}", f"{after.latency_ms:.3f}"),
    ]
    layers = [("layer", "units", "removed")]
    layers += [(layer.name, f"{layer.units:,}", _removed(layer, report.measured_rows)) for layer in report.layers]
    lines = [*_aligned(costs), "", *_aligned(layers), "", *_differences(report)]
    return "\n".join([*lines, f"multiply-adds and latency: one input {report.input_shape}, latency on one thread"])


def _aligned(rows: list[tuple[str, str, str]]) -> list[str]:
    width = max(len(name) for name, *_ in rows)
    return [f"{name:{width}}  {one:>12}  {other}".rstrip() for name, one, other in rows]


def _removed(layer: PrunedLayer, rows: int) -> str:
    unseen = layer.removed - layer.proved
    parts = [f"{layer.proved} proved"] * bool(layer.proved) + [f"{unseen} not seen in {rows:,} inputs"] * bool(unseen)
    return ", ".join(parts) or "0"


def _differences(report: Pruning) -> list[str]:
    named = (("measured", report.measured), ("test", report.test))
    return [
        f"{item.different:,} of {item.rows:,} {name} rows differ, by {item.largest:.1e} at most; top-1 on none"
        for name, item in named
        if item
    ]
