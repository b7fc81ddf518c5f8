"""The DVC stages: `python -m pipelines.STAGE ...` reads its config, calls one library function and writes its outs."""

import sys
from collections.abc import Callable
from typing import NoReturn

from relu_pipeline.errors import PipelineError


def run(stage: Callable[..., None], *choices: tuple[str, ...]) -> NoReturn:
    """Call `stage` with the command line's words, one of each of `choices`. A PipelineError is one line and exit 1."""
    words = sys.argv[1:]
    if len(words) != len(choices) or any(word not in valid for word, valid in zip(words, choices, strict=False)):
        usage = " ".join("{" + ",".join(valid) + "}" for valid in choices)
        sys.exit(f"usage: python -m {stage.__module__} {usage}".replace("__main__", f"pipelines.{stage.__name__}"))
    try:
        stage(*words)
    except PipelineError as error:
        sys.exit(f"error: {error}")
    sys.exit(0)
