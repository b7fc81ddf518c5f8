"""The predictor of the trained demo models, in this process."""

from pathlib import Path

import pytest

from serving.predictor import Predictor
from serving.settings import load_settings


@pytest.fixture(scope="session")
def predictor(models: Path) -> Predictor:
    # Not in int8, which may be the faster one: its probabilities are others than those of training.
    return Predictor(models, load_settings().model_copy(update={"precision": "fp32"}))
