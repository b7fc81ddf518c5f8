"""A model out of `models/<task>/`, checked against its manifest: what callers sent in, answers out."""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from serving.drift import Drift, DriftMonitor
from serving.errors import ModelError, RequestError
from serving.inputs import check_text, decode_image, pad, tokenise
from serving.metrics import TALLY, DriftMetrics
from serving.precision import choose
from serving.schemas import Answer, ModelVersion
from serving.sessions import OUTPUTS, open_session
from serving.settings import DriftSettings, Precision, Settings, handed_on_precision
from serving.tokenizer import WordTokenizer

Row = Any  # uint8 `[side, side, 3]` of an image, token ids of a text

GRAPHS = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
SAMPLES = "samples.json"
CHUNK_ROWS = 64  # of a batch in one run of the graph: bounds the memory
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
        self.watch = ReluWatch(self.task, served["relu_baseline"], settings.drift)
        self.version = ModelVersion(
            name=self.manifest["name"],
            version=self.manifest["version"],
            sha256=self.manifest["files"][GRAPHS[self.precision]],
        )
        self.signature = self.version.model_dump()

    def prepare_reading(self) -> None:
        raise NotImplementedError

    def decode_sample(self, content: str) -> Any:
        raise NotImplementedError

    def read(self, item: Any) -> Row:
        """One item as the graph takes it. Raises RequestError."""
        raise NotImplementedError

    def read_small(self, item: Any) -> Row | None:
        """None where reading would hold up other requests. Raises RequestError."""
        raise NotImplementedError

    def join(self, rows: Sequence[Row]) -> NDArray[Any]:
        raise NotImplementedError

    def run(self, rows: Sequence[Row]) -> list[Answer]:
        """The answers to rows that `read` gave."""
        answers: list[Answer] = []
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = self.join(rows[start : start + CHUNK_ROWS])
            probabilities, zero_shares = self.session.run(OUTPUTS, {self.input: chunk})
            self.watch.add(zero_shares)
            TALLY.batch(self.task, len(probabilities))
            answers += map(self._answer, probabilities.tolist())
        return answers

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
        chosen = wanted if wanted == "int8" else handed_on_precision(self.task)
        if (chosen or choose(fp32, quantised, {self.input: self.join(rows[:1])})) == "int8":
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
    def prepare_reading(self) -> None:
        self.side: int = self.manifest["input"]["shape"][1]

    def decode_sample(self, content: str) -> bytes:
        return base64.b64decode(content)

    def read(self, item: bytes) -> Row:
        return decode_image(item, self.side, self.settings.max_image_pixels)

    def read_small(self, item: bytes) -> Row | None:
        if len(item) > self.settings.inline_image_bytes:
            return None
        try:
            return decode_image(item, self.side, self.settings.inline_image_pixels)
        except RequestError as error:
            if error.code != "image_too_large":
                raise
            return None

    def join(self, rows: Sequence[Row]) -> NDArray[np.uint8]:
        return np.array(rows)


class TextModel(Model):
    def prepare_reading(self) -> None:
        self.tokenizer = WordTokenizer(self.files["tokenizer.json"])

    def decode_sample(self, content: str) -> str:
        return content

    def read(self, item: Any) -> Row:
        return tokenise(self.tokenizer, check_text(item, self.settings.max_text_bytes))

    def read_small(self, item: Any) -> Row | None:
        if len(check_text(item, self.settings.max_text_bytes)) > self.settings.inline_text_chars:
            return None
        return tokenise(self.tokenizer, item)

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


class ReluWatch:
    """Zero shares of answered rows, on their way to the drift monitor and `/metrics`: together, for that is cheaper."""

    def __init__(self, task: str, baseline: dict[str, Any], settings: DriftSettings) -> None:
        # Of this worker: with several, each sees its share of the requests.
        self.monitor = DriftMonitor(baseline, settings.window, settings.threshold)
        self.metrics = DriftMetrics(task, self.monitor.layers)
        self.pending: list[NDArray[np.float32]] = []
        self.lock = Lock()

    def add(self, shares_NR: NDArray[np.float32]) -> None:
        self.pending.append(shares_NR)
        if len(self.pending) >= self.monitor.window:
            self.flush()

    def flush(self) -> Drift:
        with self.lock:  # or a later verdict could be overwritten by an earlier one
            pending, self.pending = self.pending, []
            if not pending:
                return self.monitor.read()
            shares_NR = np.concatenate(pending)
            drift = self.monitor.add(shares_NR)
            self.metrics.observe(shares_NR, drift)
        return drift


def read_verified(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest, and the bytes of the files that it names; nothing is read twice. Raises ModelError."""
    manifest = read_manifest(folder)
    return manifest, {name: _read_file(folder / name, expected) for name, expected in manifest["files"].items()}


def read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
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
