"""A validation row of each label with the graph's answer: examples for people, golden inputs for the service."""

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from relu_pipeline import artifacts
from relu_pipeline.artifacts import PreparedMeta, Sample, Samples
from relu_pipeline.config import Task
from relu_pipeline.data.batches import AnySplit
from relu_pipeline.errors import ArtifactError
from relu_pipeline.evaluation.predict import OUTPUT_NAME, cpu_session

Showing = Callable[[Tensor], str | None]


def pick_samples(meta: PreparedMeta, prepared: Path, split: AnySplit, graph: Path) -> Samples:
    """Of each label the first row that can be shown, answered alone, as the service does. Raises ArtifactError."""
    show, session = _showing(meta.task, prepared), cpu_session(graph)
    input_name = session.get_inputs()[0].name
    samples = []
    for index, label in enumerate(meta.source.labels):
        for row in _rows_of(split, index):
            shown = show(row)
            if shown is not None:
                (probabilities,) = session.run([OUTPUT_NAME], {input_name: row.numpy()})[0]
                samples.append(Sample(input=shown, label=label, probabilities=probabilities.tolist()))
                break
    if not samples:
        raise ArtifactError(
            f"{prepared}: every validation text has a word outside the vocabulary, so none can be a sample; "
            "raise text.prepare.vocab_size in params.yaml, then `dvc repro`"
        )
    return Samples(samples=samples)


def _rows_of(split: AnySplit, index: int) -> Iterator[Tensor]:
    """What the graph takes, `[1, ...]`, for each row of the label."""
    return (split.gather(row) for row in torch.nonzero(split.labels == index))


def _showing(task: Task, prepared: Path) -> Showing:
    if task == "image":
        return _as_png
    tokenizer = Tokenizer.from_file(str(prepared / artifacts.TOKENIZER))
    return lambda row: _as_text(tokenizer, row)


def _as_png(row: Tensor) -> str:
    """Base64."""
    buffer = io.BytesIO()
    Image.fromarray(row[0].numpy()).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _as_text(tokenizer: Tokenizer, row: Tensor) -> str | None:
    """None where the text would not give the same token ids: decoding leaves out unknown words."""
    ids = row[0].tolist()
    text = tokenizer.decode(ids)
    return text if tokenizer.encode(text).ids == ids else None
