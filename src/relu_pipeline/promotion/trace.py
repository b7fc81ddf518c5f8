"""The command `trace`: the data, code and parameters that produced the model of a prediction."""

from relu_pipeline import artifacts
from relu_pipeline.errors import PromotionError
from relu_pipeline.tasks.catalogue import TASKS
from relu_pipeline.tracking.mlflow_store import open_registry
from relu_pipeline.tracking.registry import Registry, Version

LEAST_CHARS = 6


def trace(wanted: str) -> str:
    """Return the provenance of the model that `wanted` identifies.

    `wanted` is NAME/NUMBER, or the first digits of the SHA-256 of the graph or the checkpoint, of the version, or of
    the run ID. Of several versions with the same weights the newest is described.

    Raises PromotionError if no model matches, or models with different weights do.
    """
    with open_registry() as registry:
        versions = [version for task in TASKS for version in registry.versions(artifacts.model_name(task))]
        found = [version for version in versions if _is_named(version, wanted)]
        if len({version.tags["checkpoint_sha256"] for version in found}) != 1:
            names = f"matches {', '.join(map(str, found))}" if found else "matches no registered model"
            raise PromotionError(
                f"{wanted} {names}; give NAME/NUMBER, or at least {LEAST_CHARS} digits of a SHA-256, version or run ID"
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
    digests = {name.removesuffix("_sha256"): value for name, value in version.tags.items()}
    graphs = {f"{name}.onnx": value for name, value in digests.items() if name.startswith("model")}
    rows = {
        "model": f"{version.name}/{version.number}, version {version.tags['version']}",
        **dict(sorted(graphs.items())),
        "best.ckpt": version.tags["checkpoint_sha256"],
        "run": f"{version.run_id} ({run.info.run_name})",
        "commit": run.data.tags.get("mlflow.source.git.commit", "unknown"),
        "data": f"{run.data.tags.get('data', version.tags['data_source'])}, {version.tags['data_sha256']}",
    }
    for used in run.inputs.dataset_inputs:
        rows[f"{used.tags[0].value} rows"] = f"{used.dataset.name} {used.dataset.digest}"
    rows |= dict(sorted(run.data.params.items()))
    note = run.data.tags.get("mlflow.note.content", "how to reproduce it was not recorded")
    return "\n".join(f"{name}: {value}" for name, value in rows.items()) + f"\n{note}"
