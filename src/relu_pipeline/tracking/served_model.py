"""The python_function model that MLflow loads for a registered model; relu-pipeline need not be installed.

MLflow executes this file (models from code, https://mlflow.org/docs/latest/ml/model/models-from-code/), with the
package `relu_inputs` on its path.
"""

import base64
import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from onnxruntime import InferenceSession

from relu_inputs.images import decode_image
from relu_inputs.texts import WordTokenizer, check_text, pad, tokenize

MAX_PIXELS = 100_000_000
MAX_TEXT_BYTES = 1_000_000
BATCH_SIZE = 64


class ServedModel(PythonModel):
    """MLflow model that maps texts, or image files in base64, to a data frame of `label` and `probability`.

    `predict` raises InputError for invalid inputs.
    """

    def load_context(self, context: PythonModelContext) -> None:
        folder = Path(context.artifacts["model"])
        self.manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.session = InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        if self.manifest["task"] == "text":
            self.tokenizer = WordTokenizer((folder / "tokenizer.json").read_bytes())

    def predict(
        self, context: PythonModelContext, model_input: list[str], params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        starts = range(0, len(model_input), BATCH_SIZE)
        batches = [self._probabilities(model_input[start : start + BATCH_SIZE]) for start in starts]
        probabilities_NC = np.concatenate([np.empty((0, len(self.manifest["labels"]))), *batches])
        labels = [self.manifest["labels"][best] for best in probabilities_NC.argmax(axis=1)]
        return pd.DataFrame({"label": labels, "probability": probabilities_NC.max(axis=1)})

    def _probabilities(self, values: list[str]) -> Any:
        if self.manifest["task"] == "text":
            rows = pad([tokenize(self.tokenizer, check_text(value, MAX_TEXT_BYTES)) for value in values])
        else:
            _, side, _, channels = self.manifest["input"]["shape"]
            rows = np.array([decode_image(base64.b64decode(value), side, channels, MAX_PIXELS) for value in values])
        return self.session.run(["probabilities"], {self.manifest["input"]["name"]: rows})[0]


mlflow.models.set_model(ServedModel())
