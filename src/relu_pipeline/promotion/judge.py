"""The promotion checks of a candidate, by itself and against the champion."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, PreparedMeta
from relu_pipeline.config import HealthConfig, Params, PromoteConfig, TaskName
from relu_pipeline.data.batches import PreparedSplit
from relu_pipeline.errors import PromotionError
from relu_pipeline.promotion.behaviour import VARIANTS
from relu_pipeline.promotion.compare import changed_answers, compare, latency_ratio, right
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.registry import CANDIDATE, CHAMPION, Registry, Version


@dataclass
class Verdict:
    """Result of the checks: `measured` are lines of results, `reasons` why the candidate cannot be promoted."""

    measured: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def judge(
    task: TaskName, params: Params, registry: Registry, candidate: Version, champion: Version | None, scratch: Path
) -> Verdict:
    """Check the candidate, and compare it with the champion on the test split of `data/prepared/<task>/`.

    The models are downloaded to `scratch`. Raises PromotionError if the test split is not of the candidate's data, and
    ArtifactError.
    """
    verdict, config = Verdict(), params.promote
    models = registry.fetch(candidate, scratch / CANDIDATE)
    manifest = artifacts.read_manifest(models, task)
    _judge_origin(registry, candidate, verdict)
    _judge_alone(manifest, config, params.health, verdict)
    prepared = artifacts.prepared_dir(task)
    meta = artifacts.read(prepared / artifacts.META, PreparedMeta)
    test = TASKS[task].load(prepared, "test")
    if meta.source.sha256 != manifest.data_sha256 or not _takes(manifest, test, prepared):
        raise PromotionError(
            f"{prepared} does not have the test split of {candidate}, prepared as the model requires; check out its "
            "params.yaml and dvc.lock, then `dvc checkout`"
        )
    if champion is None:
        verdict.measured.append(f"no champion yet; test accuracy {manifest.test_metrics['accuracy']:.4f}")
        return verdict
    earlier = registry.fetch(champion, scratch / CHAMPION)
    of_champion = artifacts.read_manifest(earlier, task)
    same_data = of_champion.data_sha256 == manifest.data_sha256
    if not same_data or of_champion.labels != manifest.labels or not _takes(of_champion, test, prepared):
        verdict.reasons.append(
            f"{champion} has other data, classes, image size or vocabulary, so no test split suits both models"
        )
        return verdict
    _judge_pair(models / artifacts.ONNX_MODEL, earlier / artifacts.ONNX_MODEL, test, config, verdict)
    base, variants = VARIANTS[task](test, prepared)
    _judge_behaviour(models / artifacts.ONNX_MODEL, earlier / artifacts.ONNX_MODEL, base, variants, config, verdict)
    return verdict


def _takes(manifest: Manifest, test: PreparedSplit, prepared: Path) -> bool:
    """Return whether the test split was prepared as the model requires: image size, and vocabulary."""
    row = test.gather(torch.arange(1))
    axes = zip(manifest.input.shape, row.shape, strict=True)
    same_sizes = all(wanted == size for wanted, size in axes if isinstance(wanted, int))
    served = TASKS[manifest.task].served_files
    return same_sizes and all(manifest.files[name] == artifacts.sha256_of(prepared / name) for name in served)


def _judge_origin(registry: Registry, candidate: Version, verdict: Verdict) -> None:
    run, training = registry.run(candidate), registry.last_training(candidate)
    if candidate.tags["data_source"] == "demo":
        verdict.reasons.append("it was trained on demo data")
    commits = {name: value for name, value in run.data.tags.items() if name.startswith("commit.")}
    commits["train"] = training.data.tags.get("mlflow.source.git.commit", "unknown-dirty")
    if dirty := sorted(name.removeprefix("commit.") for name, commit in commits.items() if commit.endswith("-dirty")):
        verdict.reasons.append(f"its sources were not committed ({', '.join(dirty)})")
    if run.data.metrics.get("parity/different_top1", 1.0) > 0:
        verdict.reasons.append("its run does not record that the graph and the network predict the same classes")


def _judge_alone(manifest: Manifest, config: PromoteConfig, health: HealthConfig, verdict: Verdict) -> None:
    error = manifest.test_metrics["calibration_error"]
    verdict.measured.append(f"calibration error {error:.4f}")
    if error > config.max_calibration_error:
        verdict.reasons.append(f"calibration error {error:.4f} above promote.max_calibration_error")
    for layer, baseline in manifest.relu_baseline.items():
        if baseline.mean > health.max_zero_share:
            verdict.reasons.append(f"{baseline.mean:.1%} of the outputs of {layer} are 0, above health.max_zero_share")


def _judge_pair(candidate: Path, champion: Path, test: PreparedSplit, config: PromoteConfig, verdict: Verdict) -> None:
    paired = compare(right(candidate, test), right(champion, test))
    low, high = paired.interval
    verdict.measured.append(
        f"test accuracy {paired.accuracy:.4f}, champion {paired.champion_accuracy:.4f}: of {paired.rows:,} examples "
        f"{paired.gained} gained, {paired.lost} lost; difference {low:+.4f} to {high:+.4f} (95 %), McNemar's "
        f"p {paired.p_value:.3g}"
    )
    if paired.difference < 0:
        verdict.reasons.append(f"it is right on {paired.lost - paired.gained} fewer examples than the champion")
    ratio = latency_ratio(candidate, champion, test.gather(torch.arange(1)).numpy())
    verdict.measured.append(f"latency {ratio:.2f} times the champion's")
    if ratio > config.max_latency_ratio:
        verdict.reasons.append(f"latency {ratio:.2f} times the champion's, above promote.max_latency_ratio")


def _judge_behaviour(
    candidate: Path,
    champion: Path,
    base: PreparedSplit,
    variants: Mapping[str, PreparedSplit],
    config: PromoteConfig,
    verdict: Verdict,
) -> None:
    changed, earlier = (changed_answers(model, base, variants) for model in (candidate, champion))
    for name, share in changed.items():
        words = f"{share:.1%} of its predictions change for inputs {name}, champion {earlier[name]:.1%}"
        verdict.measured.append(words)
        if share > earlier[name] + config.max_changed_answers:
            verdict.reasons.append(f"{words}, above promote.max_changed_answers")
