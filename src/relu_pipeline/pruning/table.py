"""The pruning report as text."""

from relu_pipeline.artifacts import Pruning
from relu_pipeline.pruning.prune import CONV_BLOCK

KEPT = f"a layer keeps 1 unit, a convolution a multiple of {CONV_BLOCK}, as ONNX Runtime is slower with other widths"


def as_table(report: Pruning) -> str:
    """Return the costs before and after, the units removed from each layer, and the largest output differences."""
    before, after = report.before, report.after
    costs = [
        ("", "before", "after"),
        ("parameters", f"{before.parameters:,}", f"{after.parameters:,}"),
        ("multiply-adds", f"{before.multiply_adds:,}", f"{after.multiply_adds:,}"),
        ("file, bytes", f"{before.file_bytes:,}", f"{after.file_bytes:,}"),
        ("latency, ms", f"{before.latency_ms:.3f}", f"{after.latency_ms:.3f}"),
    ]
    layers = [("layer", "units", "removed")]
    layers += [(layer.name, f"{layer.units:,}", f"{layer.removed:,} of {layer.dead:,} dead") for layer in report.layers]
    kept = report.dead - report.removed
    lines = [*_aligned(costs), "", *_aligned(layers), "", *_differences(report)]
    lines += [f"{kept:,} of {report.dead:,} dead units are kept: {KEPT}"] * bool(kept)
    return "\n".join([*lines, f"multiply-adds and latency: one input {report.input_shape}, latency on one thread"])


def why_whole(report: Pruning) -> str:
    """Return why no unit was removed."""
    if not report.dead:
        return f"no unit is dead in {report.measured_rows:,} inputs; nothing to remove"
    units = sum(layer.units for layer in report.layers)
    return f"{report.dead:,} of {units:,} units are dead in {report.measured_rows:,} inputs, none was removed: {KEPT}"


def _aligned(rows: list[tuple[str, str, str]]) -> list[str]:
    width = max(len(name) for name, *_ in rows)
    return [f"{name:{width}}  {one:>12}  {other}".rstrip() for name, one, other in rows]


def _differences(report: Pruning) -> list[str]:
    named = (("measured", report.measured), ("test", report.test))
    return [
        f"{name} examples with other probabilities: {item.different:,} of {item.rows:,}, by at most "
        f"{item.largest:.1e}; with another top-1: 0; other outputs differ by at most {item.largest_other:.1e}"
        for name, item in named
        if item
    ]
