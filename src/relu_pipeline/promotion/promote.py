"""From candidate to champion, and back."""

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

# Tags of a version that is or was champion. REPLACED has the numbers of all champions before it, the last one first.
REPLACED, REASON, SINCE = "promoted.replaced", "promoted.reason", "promoted.at"


def promote(task: TaskName, params: Params, forced_for: str | None) -> str:
    """Make the candidate the champion if it passes, or for the reason `forced_for`; say what was measured.

    Raises PromotionError, TrackingError, ArtifactError.
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
                f"REASON` promotes it all the same\n{report}"
            )
        replaced = [champion.number, *_replaced(champion)] if champion else []
        _make_champion(registry, candidate, replaced, forced_for or "passed")
    return f"{report}\n{candidate} is the champion now"


def rollback(task: TaskName) -> str:
    """Make the version that the champion replaced the champion again, and record it. Repeated, it goes further back.

    Raises PromotionError, TrackingError.
    """
    with promotion_lock(), open_registry() as registry:
        champion = _aliased(registry, task, CHAMPION)
        versions = {version.number: version for version in registry.versions(champion.name)}
        replaced = [number for number in _replaced(champion) if number in versions]
        if not replaced:
            raise PromotionError(f"{champion} replaced no version that is still there")
        earlier = versions[replaced[0]]
        _make_champion(registry, earlier, replaced[1:], f"rollback from {champion.number}")
    return f"{earlier} is the champion again, in place of {champion}"


def _replaced(version: Version) -> list[str]:
    return version.tags.get(REPLACED, "").split()


def _make_champion(registry: Registry, version: Version, replaced: list[str], reason: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    registry.set_alias(version, CHAMPION, {SINCE: now, REPLACED: " ".join(replaced), REASON: reason})


def status() -> str:
    """Return what the aliases of each task name. Raises TrackingError."""
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
    """Put TASK@ALIAS of the registry into `target`/TASK, all files checked. Raises PromotionError, ArtifactError."""
    task, _, alias = wanted.partition("@")
    if task not in TASKS or not alias:
        raise PromotionError(f"{wanted}: not TASK@ALIAS, as image@champion or text@candidate")
    with open_registry() as registry, TemporaryDirectory() as scratch:
        version = _aliased(registry, task, alias)
        swap(task, registry.fetch(version, Path(scratch)), target / task)
    return f"{target / task} now holds {version}"


def _aliased(registry: Registry, task: TaskName, alias: str) -> Version:
    version = registry.aliased(artifacts.model_name(task), alias)
    if version is None:
        raise PromotionError(
            f"the registry has no {artifacts.model_name(task)}@{alias}; `dvc repro` makes candidates, "
            f"`relu-pipeline promote {task}` champions"
        )
    return version
