"""Sections on the data and the training of a model."""

import json
from collections.abc import Mapping
from typing import Any

from relu_pipeline.artifacts import Source, Split
from relu_pipeline.card.facts import Facts
from relu_pipeline.card.section import MANY_CLASSES, Section, bullets, paragraphs
from relu_pipeline.config import NETWORKS, flatten
from relu_pipeline.errors import in_one_line
from relu_pipeline.markdown import plain, table

ORIGINS: Mapping[str, str] = {
    "published": "from its publisher",
    "mirror": "from a mirror of its publisher's files, which may have other examples",
    "demo": "built into the pipeline",
    "own": "the user's own data",
}
SPLIT_NAMES: Mapping[Split, str] = {"train": "training", "val": "validation", "test": "test"}


def data_name(source: Source) -> str:
    """Return the name and origin of the data set; own data have no name, because it would be a file name."""
    origin = ORIGINS[source.source]
    return origin if source.source == "own" else f"{in_one_line(source.name)}, {origin}"


def data(facts: Facts) -> Section:
    source, rows = facts.meta.source, facts.meta.rows
    splits = table(("split", "examples"), ((SPLIT_NAMES[split], f"{count:,}") for split, count in rows.items()), 1)
    findings = bullets(*(f"{finding.level}: {plain(finding.message)}" for finding in facts.data.findings))
    text = paragraphs(
        f"Source: {plain(data_name(source))}. SHA-256 of the files: `{source.sha256}`",
        splits,
        _classes(facts),
        f"Findings of the data validation:\n\n{findings}" if findings else "The data validation found no problem.",
    )
    return Section("Data", text)


def _classes(facts: Facts) -> str:
    counts = facts.data.rows
    if len(facts.labels) > MANY_CLASSES:
        train = counts["train"]
        smallest, largest = (pick(train, key=train.__getitem__) for pick in (min, max))
        return (
            f"The smallest class has {train[smallest]:,} training examples ({plain(in_one_line(smallest))}), the "
            f"largest {train[largest]:,} ({plain(in_one_line(largest))}), including the validation split."
        )
    names = [_raw_split_name(split, facts.meta.source) for split in counts]
    rows = [(in_one_line(label), *(f"{classes[label]:,}" for classes in counts.values())) for label in facts.labels]
    return table(("class", *names), rows, len(names))


def _raw_split_name(split: Split, source: Source) -> str:
    holds_validation = split == "train" and "val" not in source.rows
    return "training and validation" if holds_validation else SPLIT_NAMES[split]


def shared_examples(facts: Facts) -> list[str]:
    """Return a sentence for each pair of splits that share examples."""
    return [
        f"{found.count:,} {SPLIT_NAMES[found.split]} examples {'equal' if found.kind == 'exact' else 'nearly equal'} "
        f"{SPLIT_NAMES[found.other]} examples; the metrics may be optimistic."
        for found in facts.data.duplicates
        if found.split != found.other
    ]


def recipe(facts: Facts) -> Section:
    train = facts.settled.train
    given, used = (_parameters(facts, section) for section in (getattr(facts.params, facts.task), facts.settled))
    rows = [(name, _setting(value, given[name])) for name, value in used.items()]
    text = paragraphs(
        f"Network `{facts.settled.model.name}` with {facts.pruning.after.parameters:,} parameters. The weights are "
        f"those of the last epoch whose validation {plain(train.monitor)} is within one standard error of the best "
        "epoch's. The probabilities were calibrated by temperature scaling on the validation split (Guo et al. 2017).",
        table(("parameter", "value"), rows),
    )
    return Section("Training recipe", text)


def _parameters(facts: Facts, section: Any) -> dict[str, Any]:
    """Return the parameters by the names that `dvc exp run -S` takes, without those of unused networks."""
    unused = NETWORKS.keys() - {facts.settled.model.name}
    model = {name: value for name, value in section.model.model_dump().items() if name not in unused}
    chosen = {"prepare": section.prepare.model_dump(), "model": model, "train": section.train.model_dump()}
    return {"seed": facts.params.seed} | flatten(chosen, f"{facts.task}.")


def _setting(used: object, given: object) -> str:
    if used != given:
        return f"{f'{used:.6g}' if isinstance(used, float) else used} ({given} in params.yaml)"
    return used if isinstance(used, str) else json.dumps(used)
