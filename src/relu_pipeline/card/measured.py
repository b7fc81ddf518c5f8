"""Sections on the evaluation on the test split."""

import numpy as np

from relu_pipeline import artifacts
from relu_pipeline.card.facts import Facts, TableRow
from relu_pipeline.card.intervals import RESAMPLES
from relu_pipeline.card.section import EXTREMES, MANY_CLASSES, Section, bullets, paragraphs, percent
from relu_pipeline.errors import in_one_line
from relu_pipeline.markdown import plain, table

NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "F1, macro mean",
    "precision_macro": "precision, macro mean",
    "loss": "cross-entropy in nats",
    "calibration_error": "expected calibration error",
}
METHOD = f"""The intervals describe the sampling of the test examples, not the variation between trainings. The interval
of the accuracy is Wilson's score interval (1927). Those of balanced accuracy and the macro means are percentile
bootstrap intervals with {RESAMPLES:,} resamples (Efron and Tibshirani 1993)."""
MAX_TEXT_CHARS = 300
MISTAKES = "Most confident mistakes"


def metrics(facts: Facts) -> Section:
    values = facts.metrics.model_dump()
    rows = [(words, f"{values[name]:.4f}", _interval(facts, name)) for name, words in NAMES.items()]
    text = paragraphs(
        f"On the {facts.parity.rows:,} examples of the test split, which was not used for training or model selection:",
        table(("metric", "value", "95 % interval"), rows, 2),
        METHOD,
        _by_class(facts),
    )
    return Section("Test metrics", text)


def _interval(facts: Facts, name: str) -> str:
    interval = facts.intervals.get(name)
    return f"{interval.low:.4f} to {interval.high:.4f}" if interval else ""


def _by_class(facts: Facts) -> str:
    shown, title = facts.by_class, "By class:"
    if len(shown) > MANY_CLASSES:
        shown = sorted(shown, key=lambda row: float(row["f1"]))[:EXTREMES]
        title = f"The {EXTREMES} of {len(facts.by_class):,} classes with the lowest F1:"
    scores = ("precision", "recall", "f1")
    rows = [
        (in_one_line(row["class"]), *(f"{float(row[score]):.3f}" for score in scores), f"{int(row['rows']):,}")
        for row in shown
    ]
    return paragraphs(title, table(("class", "precision", "recall", "F1", "test examples"), rows, 4))


def calibration(facts: Facts) -> Section:
    bins = facts.params.evaluate.calibration_bins
    text = (
        f"The expected calibration error on the test split is {facts.metrics.calibration_error:.4f}: the mean "
        f"difference between confidence and accuracy over {bins} bins of equal width, weighted by their examples "
        "(Guo et al. 2017, arXiv:1706.04599)."
    )
    alt = "Reliability diagram: accuracy and number of test examples in each bin of the confidence"
    return Section("Calibration", text, artifacts.RELIABILITY_PNG, alt)


def confusion(facts: Facts) -> Section:
    rows = _confused_pairs(facts)
    if not rows:
        return Section("Confusion", "The model predicted the true class of every test example.")
    head = ("true class", "predicted class", "test examples", "fraction of the true class")
    text = paragraphs("The most frequent confusions:", table(head, rows, 2))
    if len(facts.labels) > MANY_CLASSES:
        return Section("Confusion", text)
    return Section("Confusion", text, artifacts.CONFUSION_PNG, "Confusion matrix, in percent of each true class")


def _confused_pairs(facts: Facts) -> list[tuple[str, str, str, str]]:
    wrong_CC = facts.confusion.copy()
    np.fill_diagonal(wrong_CC, 0)
    order = np.argsort(-wrong_CC, axis=None, kind="stable")[:EXTREMES]
    pairs = zip(*np.unravel_index(order, wrong_CC.shape), strict=True)
    return [
        (
            in_one_line(facts.labels[true]),
            in_one_line(facts.labels[predicted]),
            f"{wrong_CC[true, predicted]:,}",
            percent(wrong_CC[true, predicted] / facts.confusion[true].sum()),
        )
        for true, predicted in pairs
        if wrong_CC[true, predicted]
    ]


def mistakes(facts: Facts) -> Section:
    shown = facts.mistakes[:EXTREMES]
    if not shown:
        return Section(MISTAKES, "The model made no mistake on the test split.")
    if any(row["text"] for row in shown):
        return Section(MISTAKES, paragraphs("The texts after tokenisation:", bullets(*map(_wrong_text, shown))))
    head = ("true class", "predicted class", "probability", "index in the test split")
    alt = f"The {len(facts.mistakes)} most confidently misclassified test images, with their true and predicted classes"
    return Section(
        MISTAKES, table(head, ((*_mistake(row), row["row"]) for row in shown), 2), artifacts.MISTAKES_PNG, alt
    )


def _mistake(row: TableRow) -> tuple[str, str, str]:
    return in_one_line(row["actual"]), in_one_line(row["predicted"]), row["probability"]


def _wrong_text(row: TableRow) -> str:
    true, predicted, probability = map(plain, _mistake(row))
    text = in_one_line(" ".join(row["text"].split()), MAX_TEXT_CHARS)
    return f"**{true}**, predicted as **{predicted}** with probability {probability}: {plain(text)}"
