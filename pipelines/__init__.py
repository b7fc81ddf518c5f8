"""DVC stages. `python -m pipelines.STAGE ...` reads the parameters, calls the library and writes the stage's outs."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn

# `dvc exp run --temp` and `--queue` run in a copy of the project. Without this line, an editable install would import
# the code of the workspace instead of the copy.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from relu_pipeline.errors import INTERRUPTED, REMEDIES, PipelineError

# DVC removes a stage's outputs before it runs the stage.
ADVICE = "; `dvc checkout` restores this stage's earlier outputs" if "DVC_STAGE" in os.environ else ""


def run(stage: Callable[..., None], *choices: tuple[str, ...]) -> NoReturn:
    """Call `stage` with the command-line arguments; each must be one of the corresponding `choices`.

    A PipelineError, a full disk and a missing permission are printed in one line, with exit status 1. Ctrl-C and
    SIGTERM exit with 130, as Ctrl-C does in shells.
    """
    words = sys.argv[1:]
    if len(words) != len(choices) or any(word not in valid for word, valid in zip(words, choices, strict=False)):
        usage = " ".join("{" + ",".join(valid) + "}" for valid in choices)
        sys.exit(f"usage: python -m {stage.__module__} {usage}".replace("__main__", f"pipelines.{stage.__name__}"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        stage(*words)
    except PipelineError as error:
        sys.exit(f"error: {error}{ADVICE}")
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        place = error.filename2 or error.filename
        sys.exit(f"error: {place}: {error.strerror}; {REMEDIES[error.errno]}{ADVICE}")
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C would end this process by the signal
        print(f"interrupted: {stage.__name__} {' '.join(words)}{ADVICE}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print Ctrl-C during the imports, which take seconds, in one line as well."""
    if issubclass(kind, KeyboardInterrupt):
        print(f"interrupted{ADVICE}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.__excepthook__(kind, error, traceback)


sys.excepthook = _report
