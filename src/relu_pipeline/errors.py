"""Exceptions with messages for users: what failed, where, and what to do next.

PipelineError
├── ConfigError     params.yaml or configs/ is invalid
├── DownloadError   data or weights cannot be downloaded, or their checksum is wrong
├── DataError       a data file has the wrong format
│   └── UnreadableError  an image cannot be decoded
├── ArtifactError   a file of an earlier stage is missing, altered or does not match
├── TrainingError   a training cannot continue
├── TrackingError   the MLflow store cannot be used
├── ExportError     the trained network cannot be exported to ONNX
├── ParityError     the predictions of the ONNX graph differ from those of the network
├── PruningError    the predictions of the pruned graph differ from those of the original
├── PackageError    BentoML cannot build the service
├── PromotionError  a model cannot be promoted, rolled back or found in the registry
└── ServiceError    a running service rejects a request, or does not respond
"""

import errno
from pathlib import Path

MAX_NAME_CHARS = 100  # of a name in a message


def in_one_line(text: str, max_chars: int = MAX_NAME_CHARS) -> str:
    """Return the text as one printable line of at most `max_chars`, plus "..." if it was longer."""
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= max_chars else f"{text[:max_chars]}..."


INTERRUPTED = 130  # exit status after Ctrl-C, as in shells

# What to do about an error of the operating system that is no fault of this project.
REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "make this file system writable",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
}


class PipelineError(Exception):
    """Base class of the errors that end a stage with a one-line message and exit status 1."""


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
    pass


class ServiceError(PipelineError):
    pass
