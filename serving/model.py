"""A model out of `models/<task>/`, verified against its manifest: what callers sent in, answers out."""

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
CHUNK_SIZE = 64  # examples of a batch in one run of the graph: bounds the memory
# Of a sample's probabilities: processors round differently, and in int8 a rounding moves an activation by a step.
TOLERANCES = {"fp32": 1e-3, "int8": 0.05}


class Model:
    """A manifest, and the one of its graphs that is served.

    Raises ModelError if a file is missing, altered or of an earlier version, or answers its samples otherwise.
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
        raise NotImplementedError

    def decode_sample(self, content: str) -> Any:
        raise NotImplementedError

    def read(self, item: Any) -> Row:
        """Return one item as the graph takes it. Raises RequestError."""
        try:
            return self.decode(item)
        except InputError as error:
            raise as_request_error(error) from error

    def read_inline(self, item: Any) -> Row | None:
        """Return None where reading would hold up other requests. Raises RequestError."""
        try:
            return self.decode(item) if self.is_small(item) else None
        except InputError as error:
            raise as_request_error(error) from error

    def decode(self, item: Any) -> Row:
        """Return one item as the graph takes it. Raises InputError."""
        raise NotImplementedError

    def is_small(self, item: Any) -> bool:
        """Return whether decoding is so fast that it does not hold up other requests. Raises InputError."""
        raise NotImplementedError

    def join(self, rows: Sequence[Row]) -> NDArray[Any]:
        raise NotImplementedError

    def run(self, rows: Sequence[Row]) -> list[Answer]:
        """Return the answers to rows that `read` gave, `CHUNK_SIZE` at most."""
        return list(map(self._answer, self.probabilities(self.join(rows)).tolist()))

    def probabilities(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return `[N, C]` for the graph's input, and watch for drift."""
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
            raise ModelError(f"{self.folder}: precision int8 is wanted, but {int8['refused']}; say fp32 or auto")
        quantised = self._checked("int8", graphs, rows, int8["sample_probabilities"])
        if wanted == "int8" or faster(quantised, fp32, {self.input: self.join(rows[:1])}):
            return "int8", quantised
        return "fp32", fp32

    def _checked(
        self, precision: Precision, graphs: dict[str, bytes], rows: list[Row], expected: list[list[float]]
    ) -> InferenceSession:
        """Answers as it did when it was exported."""
        path = self.folder / GRAPHS[precision]
        session = open_session(graphs[precision], path, self.settings.device)
        probabilities, _ = session.run(OUTPUTS, {self.input: self.join(rows)})
        if probabilities.shape[1] != len(self.labels):
            raise ModelError(f"{path}: gives {probabilities.shape[1]} probabilities for {len(self.labels)} labels")
        off = np.abs(probabilities - expected).max()
        if not off <= TOLERANCES[precision]:
            raise ModelError(
                f"{path}: does not answer {SAMPLES} as it did when it was exported, a probability is off by {off:.4f}; "
                f"remake it with `dvc repro`"
            )
        return session

    def _answer(self, probabilities: list[float]) -> Answer:
        """Without NumPy, which takes five times as long for the usual one row."""
        best = sorted(range(len(probabilities)), key=probabilities.__getitem__, reverse=True)[: self.settings.top]
        top = [{"label": self.labels[index], "probability": probabilities[index]} for index in best]
        return {**top[0], "top": top}


class ImageModel(Model):
    large_images = (
        Lock()
    )  # of the process: one at a time, for its pixels take up to 100 MB and the steps to a square more

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
    """Raises ModelError, whatever is wrong with the files: they come from outside."""
    try:
        if (found := read_manifest(folder)["task"]) != task:
            raise ModelError(f"{folder}: holds a model of the task {found}, not of {task}")
        return MODELS[task](folder, settings)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{folder}: cannot be used, {error!r}; remake it with `dvc repro`") from error


def as_request_error(error: InputError) -> RequestError:
    return RequestError(413 if error.too_large else 400, error.code, str(error))


class Watch:
    """Zero fractions and confidence of answered examples, on their way to the drift monitor and `/metrics`.

    Together, for that is cheaper. Of this worker: with several, each sees its part of the requests.
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
        """What is compared with the validation split, as the end of a sentence."""
        if not self.layers:
            return "the confidence alone: the network has no ReLU layer, and so no zero fractions"
        layers = "1 ReLU layer" if len(self.layers) == 1 else f"{len(self.layers)} ReLU layers"
        return f"the zero fractions of {layers}, and the confidence"

    def add(self, fractions_NR: NDArray[np.float32], probabilities_NC: NDArray[np.float32]) -> None:
        self.pending.append((fractions_NR, probabilities_NC))
        self.pending_examples += len(fractions_NR)  # two threads may lose a count, which only delays the next line
        if self.pending_examples >= self.monitor.window:
            self.record()

    def record(self) -> Drift:
        """Pass on what is pending, and return the drift after it."""
        with self.lock:  # or a later drift could be overwritten by an earlier one
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
    """The manifest, and the bytes of the files that it names; nothing is read twice. Raises ModelError."""
    manifest = read_manifest(folder)
    return manifest, {name: _read_file(folder / name, expected) for name, expected in manifest["files"].items()}


def read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except OSError as error:
        message = f"{path}: {error.strerror}; run `dvc repro`, or set RELU_MODELS_DIR to the folder that it made"
        raise ModelError(message) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON; remake it with `dvc repro`") from error
    files = manifest.get("files") if isinstance(manifest, dict) else None
    for name in (SAMPLES, *GRAPHS.values()):
        if not isinstance(files, dict) or name not in files:
            raise ModelError(f"{path}: names no {name}, as those of an earlier version; remake it with `dvc repro`")
    return manifest


def _read_file(path: Path, expected: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}, but the manifest names it; remake it with `dvc repro`") from error
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise ModelError(f"{path}: sha256 is {found}, the manifest says {expected}; remake it with `dvc repro`")
    return content
