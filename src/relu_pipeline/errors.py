"""The exceptions that a user may meet. A message says what, where, and what to do next.

PipelineError
├── ConfigError     params.yaml or configs/ is wrong
├── DownloadError   data or weights could not be fetched or are not what they claim to be
├── DataError       a data file has the wrong form
│   └── UnreadableError  an image cannot be decoded
├── ArtifactError   a file of an earlier stage is missing, altered or does not fit
├── TrainingError   a training cannot go on
├── TrackingError   the MLflow store cannot be used
├── ExportError     the trained network cannot become an ONNX graph
├── ParityError     the ONNX graph does not answer as the trained network does
├── PruningError    the pruned graph does not answer as the whole one does
├── PackageError    BentoML could not build the service
└── ServiceError    a running service refused a request, or does not answer
"""

from pathlib import Path

MAX_NAME_CHARS = 100  # of a name in a message


def in_one_line(text: str, max_chars: int = MAX_NAME_CHARS) -> str:
    """Return the text in one printable line, shortened."""
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= max_chars else f"{text[:max_chars]}..."


class PipelineError(Exception):
    """Base of all errors that end a stage with one line and exit status 1."""


class ConfigError(PipelineError):
    pass


class DownloadError(PipelineError):
    pass


class DataError(PipelineError):
    pass


class UnreadableError(DataError):
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.why = why


class ArtifactError(PipelineError):
    pass


class TrainingError(PipelineError):
    pass


class TrackingError(PipelineError):
    pass


class ExportError(PipelineError):
    pass


class ParityError(PipelineError):
    pass


class PruningError(PipelineError):
    pass


class PackageError(PipelineError):
    pass


class PromotionError(PipelineError):
    """A model may not become the champion, or there is none."""


class ServiceError(PipelineError):
    pass
