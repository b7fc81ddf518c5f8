"""Which version of the project made an artifact."""

import subprocess
from pathlib import Path

from relu_pipeline import artifacts
from relu_pipeline.errors import ConfigError


def git_commit() -> str:
    """The checked-out commit, with "-dirty" behind it if tracked files differ. Raises ConfigError outside git."""
    commit = _git("rev-parse", "HEAD")
    return f"{commit}-dirty" if _git("status", "--porcelain", "--untracked-files=no") else commit


def source_digest() -> str:
    """One sha256 over the library's own modules."""
    return artifacts.sha256_of(*sorted(Path(__file__).parent.rglob("*.py")))


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError as error:
        raise ConfigError("git is not installed; runs are recorded with their commit, so install it") from error
    except subprocess.CalledProcessError as error:
        raise ConfigError(
            f"this folder is not a git checkout with a commit ({error.stderr.strip().splitlines()[0]}); "
            "clone the project with `git clone`, or `git init` and commit"
        ) from error
