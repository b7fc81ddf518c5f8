"""Errors and warnings about the data. Each names the examples, the remedy and the threshold."""

from collections.abc import Iterator, Sequence

from relu_pipeline.artifacts import DataFacts, Duplicates, Finding, Pair
from relu_pipeline.config import TaskName, ValidationConfig
from relu_pipeline.errors import in_one_line

MAX_NAMES = 10  # classes or files listed in a message

NEAR: dict[TaskName, str] = {
    "image": "their perceptual hashes are close, so they are copies or similar images",
    "text": "they differ only in case, punctuation or white space",
}


def findings(task: TaskName, facts: DataFacts, thresholds: ValidationConfig) -> Iterator[Finding]:
    """Yield the errors and warnings that follow from `facts`."""
    yield from _left_out(facts, thresholds)
    yield from _splits_and_classes(facts, thresholds)
    yield from _imbalance(task, facts, thresholds)
    for duplicates in facts.duplicates:
        yield _duplicates(task, duplicates, sum(facts.rows[duplicates.split].values()), thresholds)
    yield from _contradictions(task, facts, thresholds)


def _left_out(facts: DataFacts, thresholds: ValidationConfig) -> Iterator[Finding]:
    if not facts.left_out:
        return
    count, total = len(facts.left_out), len(facts.left_out) + _total(facts)
    reasons = [f"{in_one_line(left.place)}: {in_one_line(left.why.rstrip('.'))}" for left in facts.left_out]
    what = f"{_share(count, total)} files or rows are left out: {_listed(reasons, '; ')}"
    if count > thresholds.max_left_out * total:
        limit = f"validation.max_left_out ({thresholds.max_left_out:g})"
        yield _error(f"{what}; repair or remove them, or raise {limit} in params.yaml")
    else:
        yield _warning(f"{what}; the run continues without them")


def _splits_and_classes(facts: DataFacts, thresholds: ValidationConfig) -> Iterator[Finding]:
    few = {name: count for name, count in facts.rows["train"].items() if count < thresholds.min_class_rows}
    if few:
        names = _listed([f"{in_one_line(name)} ({count})" for name, count in few.items()])
        yield _error(
            f"{_share(len(few), len(facts.source.labels))} classes have fewer than {thresholds.min_class_rows} "
            f"examples in train: {names}; add examples or remove the class, or lower validation.min_class_rows "
            f"({thresholds.min_class_rows}) in params.yaml; a class needs at least one"
        )
    for split, classes in facts.rows.items():
        missing = [in_one_line(name) for name, count in classes.items() if not count]
        if len(missing) == len(classes):
            yield _error(f"{split} has no readable example; repair the files, or remove the split")
        elif missing and split != "train":
            lacks = f"{split} lacks {_share(len(missing), len(classes))} classes: {_listed(missing)}"
            yield _warning(f"{lacks}, which are not measured there; add examples")


def _imbalance(task: TaskName, facts: DataFacts, thresholds: ValidationConfig) -> Iterator[Finding]:
    classes = {name: count for name, count in facts.rows["train"].items() if count}
    if not classes:
        return
    smallest, largest = (pick(classes, key=classes.__getitem__) for pick in (min, max))
    if classes[largest] > thresholds.max_imbalance * classes[smallest]:
        yield _warning(
            f"train has {classes[largest]:,} examples of {in_one_line(largest)}, but {classes[smallest]:,} of "
            f"{in_one_line(smallest)} (validation.max_imbalance is {thresholds.max_imbalance:g}); accuracy hides "
            f"errors on rare classes: try {task}.train.class_weights balanced and {task}.train.monitor f1_macro"
        )


def _duplicates(task: TaskName, found: Duplicates, rows: int, thresholds: ValidationConfig) -> Finding:
    share, pair = _share(found.count, rows), _pair(found.examples[0])
    nearly, why = ("", "") if found.kind == "exact" else ("nearly ", f"; {NEAR[task]}")
    if found.split == found.other:
        repeat = f"{share} {found.split} examples {nearly}repeat an earlier one, for example {pair}{why}"
        return _warning(f"{repeat}; remove redundant examples")
    in_other = f"are also in {found.other}" if found.kind == "exact" else f"have a near duplicate in {found.other}"
    shared = f"{share} {found.split} examples {in_other}, for example {pair}{why}"
    cure = f"memorising them inflates the scores: remove them from {found.other} or {found.split}"
    if found.kind == "exact" and found.other == "train" and found.count > thresholds.max_shared * rows:
        return _error(f"{shared}; {cure}, or raise validation.max_shared ({thresholds.max_shared:g}) in params.yaml")
    return _warning(f"{shared}; {cure}")


def _contradictions(task: TaskName, facts: DataFacts, thresholds: ValidationConfig) -> Iterator[Finding]:
    total, limit = _total(facts), f"validation.max_contradicting ({thresholds.max_contradicting:g})"
    for found in facts.contradictions:
        pair = found.examples[0]
        labels = f"{in_one_line(pair.label)} and {in_one_line(pair.other_label)}"
        equal, why = ("an equal", "") if found.kind == "exact" else ("a nearly equal", f"; {NEAR[task]}")
        what = (
            f"{_share(found.count, total)} examples have another label than {equal} one, for example "
            f"{_pair(pair)}: {labels}{why}; correct the labels"
        )
        if found.kind == "exact" and found.count > thresholds.max_contradicting * total:
            yield _error(f"{what}, or raise {limit} in params.yaml")
        else:
            yield _warning(what)


def _total(facts: DataFacts) -> int:
    return sum(sum(classes.values()) for classes in facts.rows.values())


def _share(count: int, total: int) -> str:
    return f"{count:,} of {total:,} ({100 * count / total:.3g} %)"


def _listed(words: Sequence[str], between: str = ", ") -> str:
    more = f"{between}and {len(words) - MAX_NAMES:,} more" if len(words) > MAX_NAMES else ""
    return between.join(words[:MAX_NAMES]) + more


def _pair(pair: Pair) -> str:
    return f"{in_one_line(pair.place)} = {in_one_line(pair.other_place)}"


def _error(message: str) -> Finding:
    return Finding(level="error", message=message)


def _warning(message: str) -> Finding:
    return Finding(level="warning", message=message)
