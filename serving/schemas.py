"""What the service answers."""

from typing import Any

from pydantic import BaseModel

Answer = dict[
    str, Any
]  # `Prediction` without `model`; plain, for a request is answered in less time than it is checked


class Score(BaseModel):
    label: str
    probability: float


class ModelVersion(BaseModel):
    name: str
    version: str
    sha256: str


class Prediction(Score):
    """The best class, and the best few with it."""

    top: list[Score]
    model: ModelVersion


class Problem(BaseModel):
    code: str
    message: str


class Item(BaseModel):
    """An entry of a batch: an answer, or the error of what could not be read."""

    label: str | None = None
    probability: float | None = None
    top: list[Score] | None = None
    error: Problem | None = None


class Predictions(BaseModel):
    """One entry an item, in the order of the request."""

    predictions: list[Item]
    model: ModelVersion
