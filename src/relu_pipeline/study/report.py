"""Report of the study as one page of Markdown."""

from collections.abc import Sequence

from relu_pipeline.artifacts import Pruning
from relu_pipeline.config import ActivationName, StudyConfig
from relu_pipeline.health.record import Row
from relu_pipeline.study.cells import INITIALISATION
from relu_pipeline.study.claims import Claim
from relu_pipeline.study.results import Results

PAGE = """# Study of ReLU

{setting}

![accuracy, gradients, dead units](overview.png)

## Claims

A claim is confirmed if the comparison holds for every pair of seeds, or every seed is beyond a fixed limit: a gradient
ratio of 0.001 (vanishing) or 0.1 (not vanishing), 30 % zeros (sparse), 10 % dead units, and for times a lower quartile
of the ratio of 1. The minimum and maximum over the seeds are in parentheses.

| | claim | measured |
| --- | --- | --- |
{claims}

## Validation accuracy

| {heads} |
| --- |{rules}
{accuracies}

## Pruning of dead units

{pruning}

## A small network, epoch by epoch

{synthetic}

![loss, accuracy and gradient norm](synthetic.png)

Further figures: [accuracy by epoch](accuracy.png), [gradients by layer](gradients.png), [dead units](dead_units.png),
[functions](activations.png). All numbers are in `cells.csv`, `layers.csv`, `cost.csv` and `synthetic.csv`.
"""


def write_page(
    results: Results,
    claims: Sequence[Claim],
    pruning: Pruning,
    pruned_accuracy: float,
    synthetic: Sequence[Row],
    config: StudyConfig,
) -> str:
    columns = [(depth, rate) for depth in config.depths for rate in config.learning_rates]
    return PAGE.format(
        setting=_setting(results, config),
        claims="\n".join(_claim(claim) for claim in claims),
        heads=" | ".join(["activation", *(f"{depth} layers, {rate:g}" for depth, rate in columns)]),
        rules=" --- |" * len(columns),
        accuracies="\n".join(_accuracies(results, name, columns) for name in INITIALISATION),
        pruning=_pruning(pruning, pruned_accuracy, config),
        synthetic=_synthetic(synthetic),
    )


def _setting(results: Results, config: StudyConfig) -> str:
    layers = " and ".join(str(depth) for depth in config.depths)
    return (
        f"Networks: MLPs with {layers} hidden layers of {config.width} units, trained by Adam for {config.epochs} "
        f"epochs on up to {config.rows:,} images at half their resolution, batch size {config.batch_size}, validated "
        f"on up to {config.val_rows:,} images; {config.seeds} seeds, {len(results.cells)} trainings. All trainings of "
        "a seed see the same data in the same order. Initialisation: Glorot for sigmoid and tanh, He for the others; "
        "ReLU at the first learning rate also with normal weights of standard deviation 0.01. The test split was not "
        "used."
    )


def _claim(claim: Claim) -> str:
    return f"| {'confirmed' if claim.confirmed else '**not confirmed**'} | {claim.statement} | {claim.evidence} |"


def _accuracies(results: Results, name: ActivationName, columns: Sequence[tuple[int, float]]) -> str:
    return " | ".join([f"| {name}", *(f"{results.accuracy(name, *column):.1f}" for column in columns)]) + " |"


def _pruning(pruning: Pruning, accuracy: float, config: StudyConfig) -> str:
    network = (
        f"A ReLU network with {config.depths[0]} hidden layers of {config.pruned_width} units, learning rate "
        f"{config.pruned_learning_rate:g}, validation accuracy {100 * accuracy:.1f} %: "
    )
    if pruning.refused:
        return f"{network}not pruned: {pruning.refused}."
    if pruning.measured is None or pruning.test is None:
        return f"{network}no unit is dead, nothing was removed."
    before, after = pruning.before, pruning.after
    units = sum(layer.units for layer in pruning.layers)
    return (
        f"{network}{pruning.removed} of {units} units, which none of {pruning.measured_rows:,} inputs activates, were "
        f"removed. Largest difference of a probability on these inputs: {pruning.measured.largest:.1e}; on "
        f"{pruning.test.rows:,} other validation images: {pruning.test.largest:.1e}. No top-1 changed.\n\n"
        "| | before | after |\n| --- | --- | --- |\n"
        f"| parameters | {before.parameters:,} | {after.parameters:,} |\n"
        f"| multiply-adds per image | {before.multiply_adds:,} | {after.multiply_adds:,} |\n"
        f"| file, kB | {before.file_bytes / 1e3:,.0f} | {after.file_bytes / 1e3:,.0f} |\n"
        f"| latency per image, one thread, ms | {before.latency_ms:.3f} | {after.latency_ms:.3f} |"
    )


def _synthetic(rows: Sequence[Row]) -> str:
    first, last = rows[0], rows[-1]
    return (
        f"A 20-64-32-1 network on 1,000 examples of 20 features in two classes, {len(rows)} epochs: training loss "
        f"{first['train_loss']:.3f} to {last['train_loss']:.4f}, validation accuracy "
        f"{100 * first['val_accuracy']:.1f} % to {100 * last['val_accuracy']:.1f} %, gradient norm "
        f"{first['gradient_norm']:.3f} to {last['gradient_norm']:.3f}. For comparison, a network with one hidden layer "
        "of 64 units, trained by hand-written gradient descent in NumPy: training loss "
        f"{first['reference_loss']:.3f} to {last['reference_loss']:.4f}."
    )
