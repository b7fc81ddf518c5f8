"""A model of `models/<task>/`: verification, decoding of inputs, inference and drift detection."""

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from relu_inputs.errors import InputError
from relu_inputs.images import decode_image, image_size
from relu_inputs.texts import WordTokenizer, check_text, pad, tokenize
from serving import metrics
from serving.drift import CONFIDENCE, Drift, DriftMonitor
from serving.errors import ModelError, RequestError
from serving.onnx_session import OUTPUTS, faster, open_session
from serving.schemas import Answer, ModelVersion
from serving.settings import DriftSettings, Precision, Settings

Row = Any  # uint8 `[side, side, channels]` of an image, token ids of a text

MANIFEST = "manifest.json"
GRAPHS = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
SAMPLES = "samples.json"
LARGE_PIXELS = 4_000_000
CHUNK_SIZE = 64  # examples per run of the graph, to bound the memory
# Tolerances for the probabilities of the samples: processors round differently, in int8 by a whole quantisation step.
TOLERANCES = {"fp32": 1e-3, "int8": 0.05}


class Model:
    """Classifier with its manifest and the chosen graph, float32 or int8.

    A subclass implements decoding and batching for its task. Raises ModelError if a file is missing, altered or of an
    earlier version, or the predictions for the samples differ from those at export.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.manifest, self.files = read_verified(folder)
        graphs = {precision: self.files.pop(name) for precision, name in GRAPHS.items()}
        self.task: str = self.manifest["task"]
        self.labels: list[str] = self.manifest["labels"]
        self.input: str = self.manifest["input"]["name"]
        self.prepare_reading()
        self.precision, self.session = self._choose(graphs)
        served = self.manifest if self.precision == "fp32" else self.manifest["int8"]
        self.watch = Watch(self.task, served["relu_baseline"], served["confidence_baseline"], settings.drift)
        self.version = ModelVersion(
            name=self.manifest["name"],
            version=self.manifest["version"],
            sha256=self.manifest["files"][GRAPHS[self.precision]],
        )
        self.signature = self.version.model_dump()
        self.batch_size = metrics.BATCH_SIZE.labels(self.task)

    def prepare_reading(self) -> None:
        """Load what `decode` needs."""
        raise NotImplementedError

    def decode_sample(self, content: str) -> Any:
        """Return the item of a sample in samples.json."""
        raise NotImplementedError

    def read(self, item: Any) -> Row:
        """Decode one item. Raises RequestError."""
        try:
            return self.decode(item)
        except InputError as error:
            raise as_request_error(error) from error

    def read_inline(self, item: Any) -> Row | None:
        """Decode one item, or return None if decoding would block the event loop too long. Raises RequestError."""
        try:
            return self.decode(item) if self.is_small(item) else None
        except InputError as error:
            raise as_request_error(error) from error

    def decode(self, item: Any) -> Row:
        """Return the input of the graph for one item. Raises InputError."""
        raise NotImplementedError

    def is_small(self, item: Any) -> bool:
        """Return whether an item is small enough to be decoded on the event loop. Raises InputError."""
        raise NotImplementedError

    def join(self, rows: Sequence[Row]) -> NDArray[Any]:
        """Return a batch of decoded items."""
        raise NotImplementedError

    def run(self, rows: Sequence[Row]) -> list[Answer]:
        """Return the predictions for at most `CHUNK_SIZE` decoded items."""
        return list(map(self._answer, self.probabilities(self.join(rows)).tolist()))

    def probabilities(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probabilities `[N, C]` of a batch, and update drift detection."""
        probabilities: NDArray[np.float32]
        probabilities, zero_fractions = self.session.run(OUTPUTS, {self.input: batch})
        self.watch.add(zero_fractions, probabilities)
        self.batch_size.observe(len(probabilities))
        return probabilities

    def _choose(self, graphs: dict[str, bytes]) -> tuple[Precision, InferenceSession]:
        samples = json.loads(self.files[SAMPLES])["samples"]
        rows = [self.read(self.decode_sample(sample["input"])) for sample in samples]
        fp32 = self._checked("fp32", graphs, rows, [sample["probabilities"] for sample in samples])
        int8: dict[str, Any] = self.manifest["int8"]
        wanted = self.settings.precision
        if wanted == "fp32" or (wanted == "auto" and int8["refused"]):
            return "fp32", fp32
        if int8["refused"]:
            raise ModelError(
                f"{self.folder}: int8 is configured but not available: {int8['refused']}; set precision to fp32 or auto"
            )
        quantised = self._checked("int8", graphs, rows, int8["sample_probabilities"])
        if wanted == "int8" or faster(quantised, fp32, {self.input: self.join(rows[:1])}):
            return "int8", quantised
        return "fp32", fp32

    def _checked(
        self, precision: Precision, graphs: dict[str, bytes], rows: list[Row], expected: list[list[float]]
    ) -> InferenceSession:
        """Return a session of the graph, after comparing its predictions for the samples with those at export."""
        path = self.folder / GRAPHS[precision]
        session = open_session(graphs[precision], path, self.settings.device)
        probabilities, _ = session.run(OUTPUTS, {self.input: self.join(rows)})
        if probabilities.shape[1] != len(self.labels):
            raise ModelError(f"{path}: has {probabilities.shape[1]} outputs for {len(self.labels)} labels")
        off = np.abs(probabilities - expected).max()
        if not off <= TOLERANCES[precision]:
            raise ModelError(
                f"{path}: the predictions for {SAMPLES} differ from those at export by {off:.4f}; "
                f"rebuild it with `dvc repro`"
            )
        return session

    def _answer(self, probabilities: list[float]) -> Answer:
        """Return a prediction. Pure Python is five times faster than NumPy for a single example."""
        best = sorted(range(len(probabilities)), key=probabilities.__getitem__, reverse=True)[: self.settings.top]
        top = [{"label": self.labels[index], "probability": probabilities[index]} for index in best]
        return {**top[0], "top": top}


class ImageModel(Model):
    # Large images are decoded one at a time per process, because decoding one takes more than 100 MB.
    large_images = Lock()

    def prepare_reading(self) -> None:
        _, self.side, _, self.channels = self.manifest["input"]["shape"]

    def decode_sample(self, content: str) -> bytes:
        return base64.b64decode(content)

    def decode(self, item: bytes) -> Row:
        with self.large_images if math.prod(image_size(item)) > LARGE_PIXELS else nullcontext():
            return decode_image(item, self.side, self.channels, self.settings.limits.image_pixels)

    def is_small(self, item: bytes) -> bool:
        inline = self.settings.inline
        return len(item) <= inline.image_bytes and math.prod(image_size(item)) <= inline.image_pixels

    def join(self, rows: Sequence[Row]) -> NDArray[np.uint8]:
        return np.array(rows)


class TextModel(Model):
    def prepare_reading(self) -> None:
        self.tokenizer = WordTokenizer(self.files["tokenizer.json"])

    def decode_sample(self, content: str) -> str:
        return content

    def decode(self, item: str) -> Row:
        return tokenize(self.tokenizer, check_text(item, self.settings.limits.text_bytes))

    def is_small(self, item: str) -> bool:
        return len(item) <= self.settings.inline.text_chars

    def join(self, rows: Sequence[Row]) -> NDArray[np.int64]:
        return pad(rows)


MODELS: dict[str, type[Model]] = {"image": ImageModel, "text": TextModel}


def load_model(task: str, folder: Path, settings: Settings) -> Model:
    """Return the model of `task` in `folder`. Raises ModelError for every kind of invalid files."""
    try:
        if (found := read_manifest(folder)["task"]) != task:
            raise ModelError(f"{folder}: contains a model of the task {found}, not of {task}")
        return MODELS[task](folder, settings)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{folder}: cannot be loaded, {error!r}; rebuild it with `dvc repro`") from error


def as_request_error(error: InputError) -> RequestError:
    return RequestError(413 if error.too_large else 400, error.code, str(error))


class Watch:
    """Buffer of the zero fractions and confidences of predictions, for the drift monitor and `/metrics`.

    Both are updated in batches, which is faster. Each worker monitors its own requests.
    """

    def __init__(
        self, task: str, relu_baseline: dict[str, Any], confidence_baseline: dict[str, Any], settings: DriftSettings
    ) -> None:
        self.task = task
        self.layers = list(relu_baseline)
        baseline = {**relu_baseline, CONFIDENCE: confidence_baseline}
        self.monitor = DriftMonitor(baseline, settings.window, settings.threshold)
        self.pending: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        self.pending_examples = 0
        self.lock = Lock()

    @property
    def description(self) -> str:
        """Return a noun phrase for the monitored signals."""
        if not self.layers:
            return "only the confidence, because the network has no ReLU layer"
        layers = "1 ReLU layer" if len(self.layers) == 1 else f"{len(self.layers)} ReLU layers"
        return f"the zero fractions of {layers} and the confidence"

    def add(self, fractions_NR: NDArray[np.float32], probabilities_NC: NDArray[np.float32]) -> None:
        self.pending.append((fractions_NR, probabilities_NC))
        self.pending_examples += len(fractions_NR)  # a race between threads may lose a count: harmless
        if self.pending_examples >= self.monitor.window:
            self.record()

    def record(self) -> Drift:
        """Update the drift monitor and the metrics, and return the drift."""
        with self.lock:  # so that the metrics are set in order
            pending, self.pending = self.pending, []
            self.pending_examples = 0
            if not pending:
                return self.monitor.read()
            fractions_NR, probabilities_NC = map(np.concatenate, zip(*pending, strict=True))
            drift = self.monitor.add(np.column_stack((fractions_NR, probabilities_NC.max(axis=1))))
            sums = dict(zip(self.layers, fractions_NR.sum(axis=0, dtype=float).tolist(), strict=True))
            metrics.add_zero_fractions(self.task, sums, len(fractions_NR), drift)
        return drift


def read_verified(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the manifest and the content of its files, each read once and verified. Raises ModelError."""
    manifest = read_manifest(folder)
    return manifest, {name: _read_file(folder / name, expected) for name, expected in manifest["files"].items()}


def read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except OSError as error:
        message = f"{path}: {error.strerror}; run `dvc repro`, or set RELU_MODELS_DIR to a folder of models"
        raise ModelError(message) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON; rebuild it with `dvc repro`") from error
    files = manifest.get("files") if isinstance(manifest, dict) else None
    for name in (SAMPLES, *GRAPHS.values()):
        if not isinstance(files, dict) or name not in files:
            raise ModelError(f"{path}: does not list {name}; it is of an earlier version: rebuild it with `dvc repro`")
    return manifest


def _read_file(path: Path, expected: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}, but the manifest lists it; rebuild with `dvc repro`") from error
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise ModelError(f"{path}: sha256 is {found}, the manifest says {expected}; rebuild it with `dvc repro`")
    return content
