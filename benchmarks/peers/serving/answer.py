"""The classifier that all peers share: decode the image or text, run the graph, return the classes.

The files of the peers add only their framework. `TASK` and `MODELS` are environment variables.
"""

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions
from PIL import Image
from tokenizers import Tokenizer

SIDE = 32
TOP = 5


def load_classifier() -> "Classifier":
    return Classifier(Path(os.environ["MODELS"]) / os.environ["TASK"])


class Classifier:
    """Classifier with the graph of `models/<task>/`, on one thread."""

    def __init__(self, folder: Path) -> None:
        options = SessionOptions()
        options.intra_op_num_threads = 1
        self.session = InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.labels: list[str] = json.loads((folder / "manifest.json").read_text())["labels"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json")) if folder.name == "text" else None

    def read(self, content: bytes | str) -> NDArray[Any]:
        """Return the input of the graph: uint8 `[32, 32, 3]` for an encoded image, int64 `[L]` for a text."""
        if self.tokenizer:
            return np.array(self.tokenizer.encode(content).ids, dtype=np.int64)
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB").resize((SIDE, SIDE)), dtype=np.uint8)

    def run(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probabilities `[N, C]`."""
        return self.session.run(["probabilities"], {self.input: rows})[0]

    def answer(self, content: bytes | str) -> dict[str, Any]:
        probabilities = self.run(self.read(content)[None])[0]
        best = np.argsort(-probabilities)[:TOP]
        top = [{"label": self.labels[index], "probability": float(probabilities[index])} for index in best]
        return top[0] | {"top": top}

    def answer_json(self, content: str) -> dict[str, Any]:
        """Classify a text, or an image in base64, for frameworks that only accept JSON."""
        return self.answer(content if self.tokenizer else base64.b64decode(content))
