"""What the service answers."""

from pydantic import BaseModel


class Score(BaseModel):
    label: str
    probability: float


class ModelVersion(BaseModel):
    name: str
    version: str
    sha256: str


class Answer(Score):
    """The best class, and the best few with it."""

    top: list[Score]


class Prediction(Answer):
    model: ModelVersion


class Problem(BaseModel):
    code: str
    message: str


class FailedItem(BaseModel):
    error: Problem


class Predictions(BaseModel):
    """One entry an item, in the order of the request."""

    predictions: list[Answer | FailedItem]
    model: ModelVersion
