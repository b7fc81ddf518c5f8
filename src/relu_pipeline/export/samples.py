"""One validation example per class with its prediction: samples for the web page, reference inputs for the service."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from relu_pipeline.artifacts import Sample, Samples
from relu_pipeline.data.batches import PreparedSplit
from relu_pipeline.data.tokenizer import UNKNOWN
from relu_pipeline.errors import ArtifactError
from relu_pipeline.evaluation.predict import OUTPUT_NAME, cpu_session


def pick_samples(
    labels: Sequence[str], to_sample: Callable[[Tensor], str | None], split: PreparedSplit, graph: Path
) -> Samples:
    """Return one validation example per class and its prediction, computed at batch size 1.

    It is the first example of the class without unknown words, else the first one. Raises ArtifactError if no class
    has an example.
    """
    session = cpu_session(graph)
    input_name = session.get_inputs()[0].name
    samples = []
    for index, label in enumerate(labels):
        rows = (split.gather(row) for row in torch.nonzero(split.labels == index))
        if found := _first_plain(rows, to_sample):
            row, shown = found
            (probabilities,) = session.run([OUTPUT_NAME], {input_name: row.numpy()})[0]
            samples.append(Sample(input=shown, label=label, probabilities=probabilities.tolist()))
    if not samples:
        raise ArtifactError(
            "no validation example can be shown as a sample; raise val_fraction in params.yaml, then `dvc repro`"
        )
    return Samples(samples=samples)


def _first_plain(rows: Iterator[Tensor], to_sample: Callable[[Tensor], str | None]) -> tuple[Tensor, str] | None:
    """Return the first of `rows`, each `[1, ...]`, without unknown words, or the first that can be shown."""
    first = None
    for row in rows:
        shown = to_sample(row)
        if shown is not None and UNKNOWN not in shown:
            return row, shown
        if shown is not None and first is None:
            first = row, shown
    return first
