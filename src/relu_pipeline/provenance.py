"""Provenance of artifacts: the commit, the parameters and the digest of the source code."""

import json
import shlex
import subprocess
from pathlib import Path

from ruamel.yaml import YAML

from relu_pipeline import artifacts
from relu_pipeline.config import PARAMS, flatten
from relu_pipeline.errors import ConfigError

SOURCES = ("src", "pipelines", "relu_inputs", "serving", "configs")
UNUSED = ("health", "promote", "search")  # sections of params.yaml that do not affect any stage's outs


def git_commit() -> str:
    """Return the checked-out commit, with the suffix "-dirty" if source files differ from it or are untracked.

    params.yaml and dvc.lock are ignored: DVC writes them, and every run logs its parameters. Raises ConfigError outside
    a git checkout.
    """
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!params.yaml", ":!*dvc.lock")
    forgotten = _git("ls-files", "--others", "--exclude-standard", "--", *SOURCES)
    return f"{commit}-dirty" if changed or forgotten else commit


def command_to_repeat(commit: str) -> str:
    """Return commands that reproduce the current run, including uncommitted changes of params.yaml.

    Raises ConfigError outside a git checkout.
    """
    yaml = YAML(typ="safe", pure=True)
    contents = (yaml.load(_git("show", f"HEAD:./{PARAMS}")), yaml.load(PARAMS))
    committed, now = (flatten({key: content[key] for key in content if key not in UNUSED}) for content in contents)
    changed = {name: value for name, value in now.items() if name not in committed or committed[name] != value}
    changes = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in changed.items()]
    changes += [f"~{name}" for name in committed if name not in now]
    run = " ".join(["dvc exp run", *(f"-S {shlex.quote(change)}" for change in changes)]) if changes else "dvc repro"
    return f"git checkout {commit.removesuffix('-dirty')} && {run}"


def source_digest() -> str:
    """Return a SHA-256 digest over the modules of this package."""
    return artifacts.sha256_of(*sorted(Path(__file__).parent.rglob("*.py")))


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError as error:
        raise ConfigError("git is not installed; install it: every run records its commit") from error
    except subprocess.CalledProcessError as error:
        raise ConfigError(
            f"this folder is not a git checkout with a commit ({error.stderr.strip().splitlines()[0]}); "
            "clone the project with `git clone`, or `git init` and commit"
        ) from error
