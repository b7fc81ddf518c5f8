"""MLflow's model registry: registration, versions and aliases.

A registered model has its preprocessing and labels, so that MLflow predicts class names wherever it loads one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime

import relu_inputs
from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, Samples
from relu_pipeline.errors import ArtifactError
from relu_pipeline.tracking.outbox import Entry

CANDIDATE, CHAMPION = "candidate", "champion"
SERVED_MODEL = Path(__file__).with_name("served_model.py")
REQUIREMENTS = ("mlflow", "numpy", "pillow", "tokenizers")
MODEL = "model"  # the folder of `models/<task>/` within the registered model


def build_pyfunc(models: Path, out: Path) -> None:
    """Write `models/<task>/` as an MLflow model of the flavour python_function, from code, without pickle."""
    import mlflow

    samples = artifacts.read(models / artifacts.SAMPLES, Samples).samples
    mlflow.pyfunc.save_model(
        out,
        python_model=str(SERVED_MODEL),
        artifacts={MODEL: str(models.resolve())},
        code_paths=[str(Path(relu_inputs.__file__).parent)],
        input_example=[sample.input for sample in samples],
        # The package installed here may be onnxruntime-gpu of the same version.
        pip_requirements=[f"onnxruntime=={onnxruntime.__version__}"]
        + [f"{package}=={version(package)}" for package in REQUIREMENTS],
    )


def send_model(client: Any, run_id: str, entry: Entry, folder: Path) -> None:
    """Register the model of `entry` and set the alias "candidate". Equal files do not create a second version."""
    name, tags = entry["name"], entry["tags"]
    found = client.search_model_versions(f"name = '{name}' and tags.manifest_sha256 = '{tags['manifest_sha256']}'")
    registered = found[0].version if found else _register(client, run_id, entry, folder)
    client.set_registered_model_alias(name, CANDIDATE, registered)


def _register(client: Any, run_id: str, entry: Entry, folder: Path) -> str:
    from mlflow.entities import LoggedModelOutput

    name, run = entry["name"], client.get_run(run_id)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description=f"Classifies {entry['task']}s; built by relu-pipeline.")
    model = client.create_logged_model(run.info.experiment_id, MODEL, run_id, entry["tags"], run.data.params, "pyfunc")
    client.log_model_artifacts(model.model_id, str(folder / entry["model"]))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    for metric, value in entry["metrics"].items():
        client.log_metric(run_id, metric, value, model_id=model.model_id, **entry["dataset"])
    made = client.create_model_version(
        name,
        f"models:/{model.model_id}",
        run_id,
        entry["tags"],
        description=entry["description"],
        model_id=model.model_id,
    )
    return str(made.version)


def describe(models: Path) -> dict[str, Any]:
    """Return the fields of an outbox entry that describe the model in `models/<task>/`."""
    manifest = artifacts.read(models / artifacts.MANIFEST, Manifest)
    accuracy = manifest.test_metrics["accuracy"]
    return {
        "task": manifest.task,
        "name": manifest.name,
        "tags": _tags(manifest, artifacts.sha256_of(models / artifacts.MANIFEST)),
        "metrics": {f"test/{name}": value for name, value in manifest.test_metrics.items()},
        "description": f"test accuracy {accuracy:.4f}, {len(manifest.labels)} classes, {manifest.version}",
    }


def _tags(manifest: Manifest, manifest_sha256: str) -> Mapping[str, str]:
    """Return the tags that identify a version, and those that promotion reads."""
    return {
        "version": manifest.version,
        "manifest_sha256": manifest_sha256,
        "checkpoint_sha256": manifest.checkpoint_sha256,
        "data_source": manifest.data_source,
        "data_sha256": manifest.data_sha256,
    } | {f"{Path(name).stem}_sha256": digest for name, digest in manifest.files.items() if name.endswith(".onnx")}


@dataclass(frozen=True)
class Version:
    """Version of the registered model `name`, with the tags of `describe` and of promotions."""

    name: str
    number: str
    run_id: str
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name} {self.number} ({self.tags.get('version', 'of an earlier release')})"


class Registry:
    """Client of MLflow's model registry. All methods raise TrackingError if the store fails."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def versions(self, name: str) -> list[Version]:
        """Return the versions that the pipeline registered, newest first."""
        found = map(_version, self._client.search_model_versions(f"name = '{name}'"))
        ours = (version for version in found if "manifest_sha256" in version.tags)
        return sorted(ours, key=lambda version: int(version.number), reverse=True)

    def aliased(self, name: str, alias: str) -> Version | None:
        if not self._client.search_registered_models(f"name = '{name}'"):
            return None
        number = self._client.get_registered_model(name).aliases.get(alias)
        return number and _version(self._client.get_model_version(name, number))

    def set_alias(self, version: Version, alias: str, tags: Mapping[str, str]) -> None:
        """Set the tags, then the alias, so that a version with the alias always has its tags."""
        for key, value in tags.items():
            self._client.set_model_version_tag(version.name, version.number, key, value)
        self._client.set_registered_model_alias(version.name, alias, version.number)

    def fetch(self, version: Version, folder: Path) -> Path:
        """Download the version below `folder`, verify its files, and return the folder with its manifest.

        Raises ArtifactError if a file was altered.
        """
        import mlflow

        uri, store = f"models:/{version.name}/{version.number}", self._client.tracking_uri
        mlflow.artifacts.download_artifacts(uri, dst_path=str(folder), tracking_uri=store, registry_uri=store)
        (path,) = folder.rglob(artifacts.MANIFEST)
        if artifacts.sha256_of(path) != version.tags["manifest_sha256"]:
            raise ArtifactError(
                f"{version}: the manifest in MLflow's store was altered; `dvc repro` registers the model again"
            )
        manifest = artifacts.read(path, Manifest)
        for name in manifest.files:
            artifacts.read_verified(path.parent, manifest, name)
        return path.parent

    def run(self, version: Version) -> Any:
        """Return the MLflow run that registered the version."""
        return self._client.get_run(version.run_id)

    def last_training(self, version: Version) -> Any:
        """Return the newest run that trained the version's checkpoint: it has the most recent provenance."""
        run = self.run(version)
        same = f"tags.`relu.checkpoint` = '{version.tags['checkpoint_sha256']}'"
        found = self._client.search_runs([run.info.experiment_id], same, max_results=1)
        return found[0] if found else run


def _version(found: Any) -> Version:
    return Version(found.name, str(found.version), found.run_id, dict(found.tags))
