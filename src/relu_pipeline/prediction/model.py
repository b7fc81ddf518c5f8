"""A model of `models/<task>/`, verified against its manifest, and run by ONNX Runtime on the CPU."""

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
BATCH_PIXELS = BATCH_SIZE * 64 * 64  # of larger images fewer make a batch, for the memory that a thread takes
MAX_TEXT_BYTES = 4 * MAX_FIELD_CHARS


class Item(NamedTuple):
    """`place`: the file, or the number of the row; `load` gives the file's bytes or the text.

    `load` raises InputError, OSError or ValueError. `actual`: the true label, if it is known.
    """

    place: str | int
    load: Callable[[], Any]
    actual: str | None = None


class Prediction(NamedTuple):
    """`label`: a number of the model's labels; None, as `probability`, where there is an `error`."""

    item: Item
    label: int | None
    probability: np.float32 | None
    error: str | None = None


class Model:
    """One of the two graphs of a model. Threads may share it.

    Raises ArtifactError if a file is missing, altered or of another task, or the graph is refused by its manifest.
    """

    def __init__(self, task: TaskName, folder: Path, precision: Precision) -> None:
        self.manifest = artifacts.read_manifest(folder, task)
        if precision == "int8" and self.manifest.int8.refused:
            raise ArtifactError(f"{folder}: no int8, for {self.manifest.int8.refused}; predict with --precision fp32")
        self.precision = precision
        self.reader = READERS[task](folder, self.manifest)
        options = SessionOptions()
        options.intra_op_num_threads = 1  # each thread has a batch of its own
        graph = artifacts.read_verified(folder, self.manifest, GRAPHS[precision])
        self.session = InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def predict(self, items: Sequence[Item]) -> list[Prediction]:
        """Return the predictions in the order of the items; `reader.batch_size` items at most."""
        rows = [self._read(item) for item in items]
        usable = [row for row in rows if not isinstance(row, str)]
        best = iter(self._best(usable) if usable else [])
        return [
            Prediction(item, None, None, row) if isinstance(row, str) else Prediction(item, *next(best))
            for item, row in zip(items, rows, strict=True)
        ]

    def _read(self, item: Item) -> Row | str:
        """Return the row, or why there is none."""
        try:
            return self.reader.decode(item.load())
        except (InputError, ValueError) as error:
            return str(error)
        except OSError as error:
            return f"The file cannot be read: {error.strerror}."

    def _best(self, rows: Sequence[Row]) -> list[tuple[int, np.float32]]:
        """Return the most probable label of each row, the first of equals, and its probability."""
        inputs = {self.manifest.input.name: self.reader.join(rows)}
        (probabilities_NC,) = self.session.run(["probabilities"], inputs)
        return list(zip(probabilities_NC.argmax(axis=1).tolist(), probabilities_NC.max(axis=1), strict=True))


class ImageReader:
    def __init__(self, folder: Path, manifest: Manifest) -> None:
        _, side, _, channels = manifest.input.shape
        self.side, self.channels = int(side), int(channels)
        self.batch_size = max(1, min(BATCH_SIZE, BATCH_PIXELS // self.side**2))

    def decode(self, content: bytes) -> NDArray[np.uint8]:
        """Raises InputError."""
        return decode_image(content, self.side, self.channels, MAX_PIXELS)

    def join(self, rows: Sequence[Row]) -> NDArray[np.uint8]:
        return np.array(rows)


class TextReader:
    batch_size = BATCH_SIZE

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.tokenizer = WordTokenizer(artifacts.read_verified(folder, manifest, artifacts.TOKENIZER))

    def decode(self, content: str) -> list[int]:
        """Raises InputError."""
        return tokenize(self.tokenizer, check_text(content, MAX_TEXT_BYTES))

    def join(self, rows: Sequence[Row]) -> NDArray[np.int64]:
        return pad(rows)


READERS: dict[TaskName, type[ImageReader] | type[TextReader]] = {"image": ImageReader, "text": TextReader}
