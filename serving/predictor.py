"""Models out of `models/<task>/`, checked against their manifests, and their answers."""

import hashlib
import json
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions
from tokenizers import Tokenizer

from serving.drift import DriftMonitor
from serving.errors import ModelError, RequestError
from serving.inputs import check_text, decode_image
from serving.metrics import DriftMetrics
from serving.schemas import Answer, Item, ModelVersion, Prediction, Predictions, Problem, Score
from serving.settings import DriftSettings, Limits

Outcomes = list[Answer | RequestError]

CHUNK_ROWS = 64  # of a batch in one run of the graph: bounds the memory
OUTPUTS = ["probabilities", "zero_shares"]


class Model:
    """One ONNX graph with its manifest. Raises ModelError if a file is missing, altered or of an earlier version."""

    def __init__(self, folder: Path, drift: DriftSettings) -> None:
        self.manifest = _read_manifest(folder)
        for name, expected in self.manifest["files"].items():
            _check_file(folder / name, expected)
        options = SessionOptions()
        options.intra_op_num_threads = 1  # parallelism is across requests and workers
        self.session = InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self.labels: list[str] = self.manifest["labels"]
        if [output.name for output in self.session.get_outputs()] != OUTPUTS:
            raise ModelError(f"{folder / 'model.onnx'}: its outputs are not {OUTPUTS}; remake it with `dvc repro`")
        # Of this worker: with several, each sees its share of the requests.
        self.monitor = DriftMonitor(self.manifest["relu_baseline"], drift.window, drift.threshold)
        self.metrics = DriftMetrics(self.manifest["task"], self.monitor.layers)
        self.watching = Lock()
        self.version = ModelVersion(
            name=self.manifest["name"],
            version=self.manifest["version"],
            sha256=self.manifest["files"]["model.onnx"],
        )

    def probabilities(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """`[N, C]`; the zero shares of the rows go to the monitor."""
        outputs: list[Any] = self.session.run(OUTPUTS, {self.manifest["input"]["name"]: inputs})
        probabilities, zero_shares = outputs
        with self.watching:  # or a later verdict could be overwritten by an earlier one
            self.metrics.observe(zero_shares, self.monitor.add(zero_shares))
        return probabilities

    def answer(self, probabilities: NDArray[np.float32], top: int) -> Answer:
        best = np.argsort(-probabilities, kind="stable")[:top]
        scores = [Score(label=self.labels[index], probability=float(probabilities[index])) for index in best]
        return Answer(label=scores[0].label, probability=scores[0].probability, top=scores)


class Predictor:
    """Both models behind the four endpoints."""

    def __init__(self, models: Path, limits: Limits) -> None:
        self.limits = limits
        self.image = Model(models / "image", limits.drift)
        self.text = Model(models / "text", limits.drift)
        self.side: int = self.image.manifest["input"]["shape"][1]
        self.tokenizer = Tokenizer.from_file(str(models / "text" / "tokenizer.json"))

    def classify_image(self, content: bytes) -> Prediction:
        return _single(self.image, self._answer_images([content]))

    def classify_images(self, contents: list[bytes]) -> Predictions:
        self._check_count(len(contents))
        return _batch(self.image, self._answer_images(contents))

    def classify_text(self, text: Any) -> Prediction:
        return _single(self.text, self._answer_texts([text]))

    def classify_texts(self, texts: Any) -> Predictions:
        if not isinstance(texts, list):
            raise RequestError(400, "invalid_request", '"texts" must be a list of strings')
        self._check_count(len(texts))
        return _batch(self.text, self._answer_texts(texts))

    def _check_count(self, count: int) -> None:
        if not 1 <= count <= self.limits.max_batch_items:
            message = f"the request has {count} items; send 1 to {self.limits.max_batch_items}"
            raise RequestError(413 if count else 400, "wrong_item_count", message)

    def _answer_images(self, contents: list[bytes]) -> Outcomes:
        def decode(content: bytes) -> NDArray[np.uint8]:
            return decode_image(content, self.side, self.limits.max_image_pixels)

        return self._answer(self.image, [_attempt(decode, content) for content in contents], np.stack)

    def _answer_texts(self, texts: list[Any]) -> Outcomes:
        return self._answer(self.text, [_attempt(self._tokenise, text) for text in texts], _pad)

    def _tokenise(self, text: Any) -> NDArray[np.int64]:
        ids = self.tokenizer.encode(check_text(text, self.limits.max_text_bytes)).ids
        if not ids:
            raise RequestError(400, "empty_text", "the text has no words")
        return np.array(ids, dtype=np.int64)

    def _answer(self, model: Model, items: list[Any], join: Any) -> Outcomes:
        """Run what could be read; what could not keeps its place, with its own error."""
        readable = [item for item in items if not isinstance(item, RequestError)]
        chunks = [readable[start : start + CHUNK_ROWS] for start in range(0, len(readable), CHUNK_ROWS)]
        rows = iter([row for chunk in chunks for row in model.probabilities(join(chunk))])
        return [item if isinstance(item, RequestError) else model.answer(next(rows), self.limits.top) for item in items]


def _attempt(read: Any, item: Any) -> Any:
    try:
        return read(item)
    except RequestError as error:
        return error


def _single(model: Model, outcomes: Outcomes) -> Prediction:
    (outcome,) = outcomes
    if isinstance(outcome, RequestError):
        raise outcome
    return Prediction(**outcome.model_dump(), model=model.version)


def _batch(model: Model, outcomes: Outcomes) -> Predictions:
    items = [
        Item(error=Problem(code=outcome.code, message=str(outcome)))
        if isinstance(outcome, RequestError)
        else Item(**outcome.model_dump())
        for outcome in outcomes
    ]
    return Predictions(predictions=items, model=model.version)


def _pad(rows: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """`[N, L]`, 0 behind the shorter rows."""
    padded = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        return json.loads(path.read_text())
    except OSError as error:
        message = f"{path}: {error.strerror}; run `dvc repro`, or set RELU_MODELS_DIR to the folder that it made"
        raise ModelError(message) from error
    except ValueError as error:
        raise ModelError(f"{path}: not JSON; remake it with `dvc repro`") from error


def _check_file(path: Path, expected: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}, but the manifest names it; remake it with `dvc repro`") from error
    if found != expected:
        raise ModelError(f"{path}: sha256 is {found}, the manifest says {expected}; remake it with `dvc repro`")
