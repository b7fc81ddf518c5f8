"""Sections on the exported model: ReLU health, drift detection, parity, pruning and quantisation."""

from relu_pipeline import artifacts
from relu_pipeline.card.facts import Facts, TableRow
from relu_pipeline.card.section import Section, bullets, paragraphs, percent
from relu_pipeline.markdown import plain, table

COUNTED = """A unit is dead if no training or validation example activates it. The zero fraction is the fraction of the
layer's outputs that are 0 on the validation split."""


def relu_health(facts: Facts) -> Section:
    rows = _layers(facts)
    text = paragraphs(
        table(("layer", "units", "dead units", "mean zero fraction"), rows, 3) if rows else "There is no ReLU layer.",
        COUNTED if facts.pruning.measured_rows else "Dead units were not counted: `export.prune` is false.",
    )
    alt = "Heat maps by layer and epoch: zero fraction, dead units, magnitude of activations and of gradients"
    return Section("ReLU health", text, artifacts.HEALTH_MAP, alt)


def _layers(facts: Facts) -> list[tuple[str, str, str, str]]:
    """Return units and dead units of the layers that can be pruned, and zero fractions of the ReLU layers."""
    counted = {layer.name.removeprefix("network."): layer for layer in facts.pruning.layers}
    units = {name: (f"{layer.units:,}", f"{layer.dead:,}") for name, layer in counted.items()}
    zeros = {name: percent(column.mean) for name, column in facts.relu_baseline.items()}
    return [(name, *units.get(name, ("", "")), zeros.get(name, "")) for name in dict.fromkeys((*zeros, *units))]


def drift(facts: Facts) -> Section:
    head = ("shift", "examples", "AUROC", "median examples until the alarm", "streams with an alarm")
    text = paragraphs(
        "The service compares zero fractions and confidence with those of the validation split. The table shows how "
        "well this detects altered test examples. The AUROC compares single altered examples with unaltered ones "
        "(0.5 is chance). The alarm is evaluated on streams of examples; the fraction of unshifted streams with an "
        "alarm is the false alarm rate.",
        table(head, map(_shift, facts.drift), 4),
    )
    return Section("Drift detection", text)


def _shift(row: TableRow) -> tuple[str, str, str, str, str]:
    alarms, delay = row["alarms_combined"], row["rows_until_alarm_combined"]
    return (
        row["shift"],
        f"{int(row['rows']):,}",
        f"{float(row['auroc_combined']):.3f}",
        (delay or "never") if alarms else "too few examples",
        percent(float(alarms), 0) if alarms else "",
    )


def graphs(facts: Facts) -> Section:
    parity = facts.parity
    text = bullets(
        f"ONNX Runtime and PyTorch predict different classes for {parity.different_top1:,} of {parity.rows:,} test "
        f"examples. The largest difference of a probability is {parity.max_probability_difference:.1e}.",
        f"Pruning of dead units: {_pruning(facts)}",
        f"int8: {_int8(facts)}",
    )
    return Section("Exported graphs", text)


def _pruning(facts: Facts) -> str:
    pruning, before, after = facts.pruning, facts.pruning.before, facts.pruning.after
    if not facts.params.export.prune:
        return "off, because `export.prune` is false."
    if pruning.refused:
        return f"rejected, because {plain(pruning.refused)}."
    if not pruning.removed:
        return f"{pruning.dead:,} units are dead; none was removed." if pruning.dead else "no unit is dead."
    return (
        f"{pruning.removed:,} of {pruning.dead:,} dead units were removed; no predicted class changed. This reduced "
        f"the parameters from {before.parameters:,} to {after.parameters:,}, and the multiply-adds per example from "
        f"{before.multiply_adds:,} to {after.multiply_adds:,}."
    )


def _int8(facts: Facts) -> str:
    int8 = facts.int8
    verdict = (
        f"The service does not use this graph: {plain(int8.refused)}."
        if int8.refused
        else "The service uses this graph if it is faster than the float32 graph."
    )
    return (
        f"the test accuracy is {percent(int8.accuracy, 2)}, {_compared(int8.accuracy_loss)} float32 (validation: "
        f"{_compared(int8.val_accuracy_loss)} float32). The largest difference of a probability is "
        f"{int8.max_probability_difference:.2f}. {verdict}"
    )


def _compared(loss: float) -> str:
    return f"{abs(100 * loss):.2f} points {'above' if loss < 0 else 'below'}" if loss else "the same as in"
