"""Batch inference with a model of `models/<task>/` by ONNX Runtime on the CPU."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions

from relu_inputs.errors import InputError
from relu_inputs.images import decode_image
from relu_inputs.texts import WordTokenizer, check_text, pad, tokenize
from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest
from relu_pipeline.config import TaskName
from relu_pipeline.data.pictures import MAX_PIXELS
from relu_pipeline.data.table_files import MAX_FIELD_CHARS
from relu_pipeline.errors import ArtifactError

Precision = Literal["fp32", "int8"]
Row = Any  # uint8 `[side, side, channels]` of an image, token ids of a text

GRAPHS: dict[Precision, str] = {"fp32": artifacts.ONNX_MODEL, "int8": artifacts.INT8_MODEL}
BATCH_SIZE = 64
BATCH_PIXELS = BATCH_SIZE * 64 * 64  # batches of larger images are smaller, to bound the memory of a thread
MAX_TEXT_BYTES = 4 * MAX_FIELD_CHARS


class Item(NamedTuple):
    """Input to predict. `place` is the file or the row number, `actual` the true label if it is known.

    `load` returns the bytes of the file or the text, and raises InputError, OSError or ValueError.
    """

    place: str | int
    load: Callable[[], Any]
    actual: str | None = None


class Prediction(NamedTuple):
    """Prediction of an item. `label` is an index of the model's labels; it and `probability` are None on `error`."""

    item: Item
    label: int | None
    probability: np.float32 | None
    error: str | None = None


class Model:
    """Thread-safe classifier: one of the two graphs of a model, verified against its manifest.

    Raises ArtifactError if a file is missing, altered or of another task, or the manifest rejects the int8 graph.
    """

    def __init__(self, task: TaskName, folder: Path, precision: Precision) -> None:
        self.manifest = artifacts.read_manifest(folder, task)
        if precision == "int8" and self.manifest.int8.refused:
            raise ArtifactError(f"{folder}: int8 is not available: {self.manifest.int8.refused}; use --precision fp32")
        self.precision = precision
        self.reader = READERS[task](folder, self.manifest)
        options = SessionOptions()
        options.intra_op_num_threads = 1  # batches run in parallel threads
        graph = artifacts.read_verified(folder, self.manifest, GRAPHS[precision])
        self.session = InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def predict(self, items: Sequence[Item]) -> list[Prediction]:
        """Return the predictions of at most `reader.batch_size` items, in their order."""
        rows = [self._read(item) for item in items]
        usable = [row for row in rows if not isinstance(row, str)]
        best = iter(self._best(usable) if usable else [])
        return [
            Prediction(item, None, None, row) if isinstance(row, str) else Prediction(item, *next(best))
            for item, row in zip(items, rows, strict=True)
        ]

    def _read(self, item: Item) -> Row | str:
        """Return the decoded input, or an error message."""
        try:
            return self.reader.decode(item.load())
        except (InputError, ValueError) as error:
            return str(error)
        except OSError as error:
            return f"The file cannot be read: {error.strerror}."

    def _best(self, rows: Sequence[Row]) -> list[tuple[int, np.float32]]:
        """Return the index of the most probable label of each input, the first of ties, and its probability."""
        inputs = {self.manifest.input.name: self.reader.join(rows)}
        (probabilities_NC,) = self.session.run(["probabilities"], inputs)
        return list(zip(probabilities_NC.argmax(axis=1).tolist(), probabilities_NC.max(axis=1), strict=True))


class ImageReader:
    def __init__(self, folder: Path, manifest: Manifest) -> None:
        _, side, _, channels = manifest.input.shape
        self.side, self.channels = int(side), int(channels)
        self.batch_size = max(1, min(BATCH_SIZE, BATCH_PIXELS // self.side**2))

    def decode(self, content: bytes) -> NDArray[np.uint8]:
        """Decode an image file. Raises InputError."""
        return decode_image(content, self.side, self.channels, MAX_PIXELS)

    def join(self, rows: Sequence[Row]) -> NDArray[np.uint8]:
        return np.array(rows)


class TextReader:
    batch_size = BATCH_SIZE

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.tokenizer = WordTokenizer(artifacts.read_verified(folder, manifest, artifacts.TOKENIZER))

    def decode(self, content: str) -> list[int]:
        """Tokenise a text. Raises InputError."""
        return tokenize(self.tokenizer, check_text(content, MAX_TEXT_BYTES))

    def join(self, rows: Sequence[Row]) -> NDArray[np.int64]:
        return pad(rows)


READERS: dict[TaskName, type[ImageReader] | type[TextReader]] = {"image": ImageReader, "text": TextReader}
