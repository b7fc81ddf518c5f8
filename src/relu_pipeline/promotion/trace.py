"""From an answer back to what made its model."""

from relu_pipeline import artifacts
from relu_pipeline.errors import PromotionError
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.mlflow_store import open_registry
from relu_pipeline.tracking.registry import Registry, Version

LEAST_CHARS = 6


def trace(wanted: str) -> str:
    """Describe the model that `wanted` names: its SHA-256 or that of its checkpoint, from its first digits on, the
    version or the name and number that an answer bears, or the run. Of several with the same weights it is the newest.

    Raises PromotionError where it names none, or different ones.
    """
    with open_registry() as registry:
        versions = [version for task in TASKS for version in registry.versions(artifacts.model_name(task))]
        found = [version for version in versions if _is_named(version, wanted)]
        if len({version.tags["checkpoint_sha256"] for version in found}) != 1:
            names = f"names {', '.join(map(str, found))}" if found else "names no registered model"
            raise PromotionError(
                f"{wanted}: {names}; give NAME/NUMBER, a run, or {LEAST_CHARS} digits and more of a SHA-256 or version"
            )
        return _told(registry, found[0])


def _is_named(version: Version, wanted: str) -> bool:
    digests = [value for key, value in version.tags.items() if key.endswith("sha256") and not key.startswith("data")]
    known = [*digests, version.tags["version"], version.tags["version"].removeprefix("demo-"), version.run_id]
    if f"{version.name}/{version.number}" == wanted:
        return True
    return len(wanted) >= LEAST_CHARS and any(value.startswith(wanted) for value in known)


def _told(registry: Registry, version: Version) -> str:
    run = registry.run(version)
    rows = {
        "model": f"{version.name}/{version.number}, version {version.tags['version']}",
        "model.onnx": version.tags["model_sha256"],
        "best.ckpt": version.tags["checkpoint_sha256"],
        "run": f"{version.run_id} ({run.info.run_name})",
        "commit": run.data.tags.get("mlflow.source.git.commit", "unknown"),
        "data": f"{run.data.tags.get('data', version.tags['data_source'])}, {version.tags['data_sha256']}",
    }
    for used in run.inputs.dataset_inputs:
        rows[f"{used.tags[0].value} rows"] = f"{used.dataset.name} {used.dataset.digest}"
    rows |= dict(sorted(run.data.params.items()))
    note = run.data.tags.get("mlflow.note.content", "how it was made was not recorded")
    return "\n".join(f"{name}: {value}" for name, value in rows.items()) + f"\n{note}"
