"""The study on one page of Markdown; every figure in it was measured."""

from collections.abc import Sequence

from relu_pipeline.artifacts import Pruning
from relu_pipeline.config import ActivationName, StudyConfig
from relu_pipeline.health.record import Row
from relu_pipeline.study.cells import INITIALISATION
from relu_pipeline.study.claims import Claim
from relu_pipeline.study.results import Results

PAGE = """# What ReLU does, measured

{setting}

![accuracy, gradients, dead units](overview.png)

## What is said, and what was found

"Confirmed" means that every seed of one side is beyond every seed of the other, or beyond a fixed limit: a ratio of
gradients of 0.001 (vanished) or 0.1 (alive), 30 % of zeros (sparse), 10 % of dead units (killed), and of times 1 for
the lower quartile. In parentheses stand the smallest and the largest of the seeds.

| | claim | measured |
| --- | --- | --- |
{claims}

## Validation accuracy

| {heads} |
| --- |{rules}
{accuracies}

## Cutting dead units

{pruning}

## A small network, epoch by epoch

{synthetic}

![loss, accuracy and gradient norm](synthetic.png)

More: [accuracy by epoch](accuracy.png), [gradients by layer](gradients.png), [dead units](dead_units.png), [the
functions](activations.png). Every figure is in `cells.csv`, `layers.csv`, `cost.csv` and `synthetic.csv`.
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
        f"Plain MLPs of {layers} hidden layers of {config.width} units, Adam, {config.epochs} epochs of up to "
        f"{config.rows:,} training images at half their resolution, batches of {config.batch_size}, up to "
        f"{config.val_rows:,} validation images, {config.seeds} seeds: {len(results.cells)} trainings. All cells of a "
        "seed see the same data in the same order. He initialisation, for sigmoid and tanh Glorot's; ReLU at the first "
        "rate also from normal weights of deviation 0.01. The test split was not read."
    )


def _claim(claim: Claim) -> str:
    return f"| {'confirmed' if claim.confirmed else '**not confirmed**'} | {claim.statement} | {claim.evidence} |"


def _accuracies(results: Results, name: ActivationName, columns: Sequence[tuple[int, float]]) -> str:
    return " | ".join([f"| {name}", *(f"{results.accuracy(name, *column):.1f}" for column in columns)]) + " |"


def _pruning(pruning: Pruning, accuracy: float, config: StudyConfig) -> str:
    network = (
        f"A ReLU network of {config.depths[0]} hidden layers of {config.pruned_width} units, learning rate "
        f"{config.pruned_learning_rate:g}, validation accuracy {100 * accuracy:.1f} %: "
    )
    if pruning.refused:
        return f"{network}not cut: {pruning.refused}."
    if pruning.measured is None or pruning.test is None:
        return f"{network}no unit is dead, nothing was cut."
    before, after = pruning.before, pruning.after
    units = sum(layer.units for layer in pruning.layers)
    return (
        f"{network}{pruning.removed} of {units} units, which none of {pruning.measured_rows:,} inputs activates, were "
        f"cut. Largest difference of an answer on these inputs: {pruning.measured.largest:.1e}; on "
        f"{pruning.test.rows:,} other validation images: {pruning.test.largest:.1e}, with the same top-1 on all.\n\n"
        "| | before | after |\n| --- | --- | --- |\n"
        f"| parameters | {before.parameters:,} | {after.parameters:,} |\n"
        f"| multiply-adds an image | {before.multiply_adds:,} | {after.multiply_adds:,} |\n"
        f"| file, kB | {before.file_bytes / 1e3:,.0f} | {after.file_bytes / 1e3:,.0f} |\n"
        f"| latency of an image, one thread, ms | {before.latency_ms:.3f} | {after.latency_ms:.3f} |"
    )


def _synthetic(rows: Sequence[Row]) -> str:
    first, last = rows[0], rows[-1]
    return (
        f"1,000 rows of 20 features in two classes, 20-64-32-1, {len(rows)} epochs: loss {first['train_loss']:.3f} to "
        f"{last['train_loss']:.4f}, accuracy on rows held out {100 * first['val_accuracy']:.1f} % to "
        f"{100 * last['val_accuracy']:.1f} %, gradient norm {first['gradient_norm']:.3f} to "
        f"{last['gradient_norm']:.3f}. Beside it, one hidden layer of 64 trained by the reference's hand-written "
        f"gradient descent: loss {first['reference_loss']:.3f} to {last['reference_loss']:.4f}."
    )
