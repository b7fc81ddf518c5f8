"""The DVC stages: `python -m pipelines.STAGE ...` reads its config, calls one library function and writes its outs."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

# `dvc exp run --temp` and `--queue` work in a copy of the project, whose code is to run: an editable install would run
# that of the workspace.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from relu_pipeline.errors import PipelineError


def run(stage: Callable[..., None], *choices: tuple[str, ...]) -> NoReturn:
    """Call `stage` with the command line's words, one of each of `choices`.

    A PipelineError is one line and exit status 1; Ctrl-C one line and 130, as in shells.
    """
    words = sys.argv[1:]
    if len(words) != len(choices) or any(word not in valid for word, valid in zip(words, choices, strict=False)):
        usage = " ".join("{" + ",".join(valid) + "}" for valid in choices)
        sys.exit(f"usage: python -m {stage.__module__} {usage}".replace("__main__", f"pipelines.{stage.__name__}"))
    try:
        stage(*words)
    except PipelineError as error:
        sys.exit(f"error: {error}{_advice()}")
    except KeyboardInterrupt:
        print(f"interrupted: {stage.__name__} {' '.join(words)}{_advice()}", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def _advice() -> str:
    """DVC removes a stage's outs before it runs the stage."""
    return "; `dvc checkout` brings this stage's earlier outs back" if "DVC_STAGE" in os.environ else ""
