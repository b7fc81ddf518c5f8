"""What the service runs: the ReLU units of the graph, its drift alarm, and the graph beside the network."""

from relu_pipeline import artifacts
from relu_pipeline.card.facts import Facts, TableRow
from relu_pipeline.card.section import Section, bullets, paragraphs, percent
from relu_pipeline.markdown import plain, table

COUNTED = """A unit is dead if no training or validation example activates it. The zero fraction is that of the layer's
outputs on the validation split."""


def relu_health(facts: Facts) -> Section:
    rows = _layers(facts)
    text = paragraphs(
        table(("layer", "units", "dead units", "mean zero fraction"), rows, 3) if rows else "There is no ReLU layer.",
        COUNTED if facts.pruning.measured_rows else "Dead units were not counted: `export.prune` is false.",
    )
    alt = "Heat maps of the training by layer and epoch: zeros, dead units, size of activations and of gradients"
    return Section("ReLU health", text, artifacts.HEALTH_MAP, alt)


def _layers(facts: Facts) -> list[tuple[str, str, str, str]]:
    """Return units and dead units of the layers that can be cut, and zero fractions of the ReLU layers."""
    counted = {layer.name.removeprefix("network."): layer for layer in facts.pruning.layers}
    units = {name: (f"{layer.units:,}", f"{layer.dead:,}") for name, layer in counted.items()}
    zeros = {name: percent(column.mean) for name, column in facts.relu_baseline.items()}
    return [(name, *units.get(name, ("", "")), zeros.get(name, "")) for name in dict.fromkeys((*zeros, *units))]


def drift(facts: Facts) -> Section:
    head = ("shift", "examples", "AUROC", "examples until the alarm", "streams with an alarm")
    text = paragraphs(
        "The service compares zero fractions and confidence with those of the validation split. This is how well that "
        "detects altered test examples. The AUROC is of single examples against unaltered ones (0.5 is chance). The "
        "alarm is of streams of examples: the median until it is raised, and the share of streams that raise it, which "
        "for unshifted streams is the share of false alarms.",
        table(head, map(_shift, facts.drift), 4),
    )
    return Section("Drift detection", text)


def _shift(row: TableRow) -> tuple[str, str, str, str, str]:
    alarms, delay = row["alarms_combined"], row["rows_until_alarm_combined"]
    return (
        row["shift"],
        f"{int(row['rows']):,}",
        f"{float(row['auroc_combined']):.3f}",
        (delay or "never") if alarms else "too few examples to tell",
        percent(float(alarms), 0) if alarms else "",
    )


def graphs(facts: Facts) -> Section:
    parity = facts.parity
    text = bullets(
        f"ONNX Runtime and PyTorch predict a different class for {parity.different_top1:,} of {parity.rows:,} test "
        f"examples, and probabilities differ by {parity.max_probability_difference:.1e} at most.",
        f"Pruning of dead units: {_pruning(facts)}",
        f"int8: {_int8(facts)}",
    )
    return Section("Exported graphs", text)


def _pruning(facts: Facts) -> str:
    pruning, before, after = facts.pruning, facts.pruning.before, facts.pruning.after
    if not facts.params.export.prune:
        return "not done, `export.prune` is false."
    if pruning.refused:
        return f"refused, {plain(pruning.refused)}."
    if not pruning.removed:
        return f"{pruning.dead:,} units are dead, and none was cut." if pruning.dead else "no unit is dead."
    return (
        f"{pruning.removed:,} of {pruning.dead:,} dead units were cut, and no predicted class changed. The graph has "
        f"{after.parameters:,} parameters instead of {before.parameters:,}, and {after.multiply_adds:,} multiply-adds "
        f"an example instead of {before.multiply_adds:,}."
    )


def _int8(facts: Facts) -> str:
    int8 = facts.int8
    verdict = (
        f"The service does not use this graph: {plain(int8.refused)}."
        if int8.refused
        else "The service uses this graph where it is faster than the float32 one."
    )
    return (
        f"the test accuracy is {percent(int8.accuracy, 2)}, {_compared(int8.accuracy_loss)} float32 (validation: "
        f"{_compared(int8.val_accuracy_loss)} float32); probabilities differ by {int8.max_probability_difference:.2f} "
        f"at most. {verdict}"
    )


def _compared(loss: float) -> str:
    return f"{abs(100 * loss):.2f} points {'above' if loss < 0 else 'below'}" if loss else "the same as in"
