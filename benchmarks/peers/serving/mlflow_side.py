"""`mlflow models serve`. `python mlflow_side.py FOLDER` writes the model to serve."""

import sys
from pathlib import Path
from typing import Any

import mlflow
from answer import load_classifier
from mlflow.pyfunc import PythonModel, PythonModelContext


class ServedModel(PythonModel):
    def load_context(self, context: PythonModelContext) -> None:
        self.classifier = load_classifier()

    def predict(self, model_input: list[str]) -> list[dict[str, Any]]:
        """Classify texts, or images in base64."""
        return [self.classifier.answer_json(content) for content in model_input]


if __name__ == "__main__":
    code = str(Path(__file__).with_name("answer.py"))
    mlflow.pyfunc.save_model(sys.argv[1], python_model=ServedModel(), code_paths=[code], pip_requirements=[])
