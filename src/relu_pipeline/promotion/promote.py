"""The commands `promote`, `rollback`, `status` and `pull`."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from relu_pipeline import artifacts
from relu_pipeline.config import Params, TaskName
from relu_pipeline.errors import PromotionError
from relu_pipeline.promotion.judge import judge
from relu_pipeline.swap import swap
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.mlflow_store import open_registry, promotion_lock
from relu_pipeline.tracking.registry import CANDIDATE, CHAMPION, Registry, Version

# Tags of a version that is or was champion. REPLACED lists the numbers of all earlier champions, the most recent first.
REPLACED, REASON, SINCE = "promoted.replaced", "promoted.reason", "promoted.at"


def promote(task: TaskName, params: Params, forced_for: str | None) -> str:
    """Make the candidate the champion if it passes the checks, or for the reason `forced_for`; return the results.

    Raises PromotionError if it does not pass, TrackingError, ArtifactError.
    """
    with promotion_lock(), open_registry() as registry, TemporaryDirectory() as scratch:
        candidate = _aliased(registry, task, CANDIDATE)
        champion = registry.aliased(artifacts.model_name(task), CHAMPION)
        if champion == candidate:
            return f"{candidate} is the champion already"
        verdict = judge(task, params, registry, candidate, champion, Path(scratch))
        report = "\n".join(verdict.measured)
        if verdict.reasons and not forced_for:
            raise PromotionError(
                f"{candidate} stays candidate: {'; '.join(verdict.reasons)}; `relu-pipeline promote {task} --force "
                f"REASON` promotes it anyway\n{report}"
            )
        replaced = [champion.number, *_replaced(champion)] if champion else []
        _make_champion(registry, candidate, replaced, forced_for or "passed")
    return f"{report}\n{candidate} is the champion now"


def rollback(task: TaskName) -> str:
    """Restore the previous champion and record the rollback; a second call restores the one before.

    Raises PromotionError if there is none, TrackingError.
    """
    with promotion_lock(), open_registry() as registry:
        champion = _aliased(registry, task, CHAMPION)
        versions = {version.number: version for version in registry.versions(champion.name)}
        replaced = [number for number in _replaced(champion) if number in versions]
        if not replaced:
            raise PromotionError(f"{champion} has no previous champion, or it was deleted")
        earlier = versions[replaced[0]]
        _make_champion(registry, earlier, replaced[1:], f"rollback from {champion.number}")
    return f"{earlier} is the champion again; it replaces {champion}"


def _replaced(version: Version) -> list[str]:
    return version.tags.get(REPLACED, "").split()


def _make_champion(registry: Registry, version: Version, replaced: list[str], reason: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    registry.set_alias(version, CHAMPION, {SINCE: now, REPLACED: " ".join(replaced), REASON: reason})


def status() -> str:
    """Return a line for the champion and the candidate of each task. Raises TrackingError."""
    lines = []
    with open_registry() as registry:
        for task in TASKS:
            for alias in (CHAMPION, CANDIDATE):
                version = registry.aliased(artifacts.model_name(task), alias)
                lines.append(f"{task} {alias}: {_described(version) if version else 'none'}")
    return "\n".join(lines)


def _described(version: Version) -> str:
    promoted = f", since {version.tags[SINCE]}: {version.tags[REASON]}" if SINCE in version.tags else ""
    replaced = f"; replaced {', '.join(_replaced(version))}" if _replaced(version) else ""
    return f"{version}, run {version.run_id}{promoted}{replaced}"


def pull(wanted: str, target: Path) -> str:
    """Copy the model TASK@ALIAS of the registry to `target`/TASK, and verify its files.

    Raises PromotionError, TrackingError, ArtifactError.
    """
    task, _, alias = wanted.partition("@")
    if task not in TASKS or not alias:
        raise PromotionError(f"{wanted} is not TASK@ALIAS, such as image@champion or text@candidate")
    with open_registry() as registry, TemporaryDirectory() as scratch:
        version = _aliased(registry, task, alias)
        swap(task, registry.fetch(version, Path(scratch)), target / task)
    return f"{target / task} now has {version}"


def _aliased(registry: Registry, task: TaskName, alias: str) -> Version:
    version = registry.aliased(artifacts.model_name(task), alias)
    if version is None:
        raise PromotionError(
            f"the registry has no {artifacts.model_name(task)}@{alias}; `dvc repro` registers a candidate, "
            f"`relu-pipeline promote {task}` makes it the champion"
        )
    return version
