"""DVC stages. `python -m pipelines.STAGE ...` reads the parameters, calls the library and writes the stage's outs."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

# `dvc exp run --temp` and `--queue` run in a copy of the project. Without this line, an editable install would import
# the code of the workspace instead of the copy.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from relu_pipeline.errors import INTERRUPTED, PipelineError

FULL = (errno.ENOSPC, errno.EDQUOT)


def run(stage: Callable[..., None], *choices: tuple[str, ...]) -> NoReturn:
    """Call `stage` with the command-line arguments; each must be one of the corresponding `choices`.

    A PipelineError or a full disk is printed in one line, with exit status 1; Ctrl-C exits with 130, as in shells.
    """
    words = sys.argv[1:]
    if len(words) != len(choices) or any(word not in valid for word, valid in zip(words, choices, strict=False)):
        usage = " ".join("{" + ",".join(valid) + "}" for valid in choices)
        sys.exit(f"usage: python -m {stage.__module__} {usage}".replace("__main__", f"pipelines.{stage.__name__}"))
    try:
        stage(*words)
    except PipelineError as error:
        sys.exit(f"error: {error}{_advice()}")
    except OSError as error:
        if error.errno not in FULL:
            raise
        sys.exit(f"error: {error.filename2 or error.filename}: {error.strerror}; free some space{_advice()}")
    except KeyboardInterrupt:
        print(f"interrupted: {stage.__name__} {' '.join(words)}{_advice()}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _advice() -> str:
    """Return how to restore the outputs, which DVC removes before it runs a stage."""
    return "; `dvc checkout` restores this stage's earlier outputs" if "DVC_STAGE" in os.environ else ""
