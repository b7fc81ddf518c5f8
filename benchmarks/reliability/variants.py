"""Copies of a served model with one change and their own version."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, Sample, Samples


@dataclass(frozen=True)
class Variant:
    folder: Path
    version: str
    labels: frozenset[str]


def first(model: Path, folder: Path) -> Variant:
    """Return an unchanged copy."""
    manifest = artifacts.read(model / artifacts.MANIFEST, Manifest)
    place(model, folder)
    return Variant(folder, manifest.version, frozenset(manifest.labels))


def renamed(model: Path, folder: Path) -> Variant:
    """Return a valid model with other labels."""
    return _variant(model, folder, _other_name, lambda sample: {"label": _other_name(sample.label)})


def unlike(model: Path, folder: Path) -> Variant:
    """Return a model whose predictions for its samples differ from samples.json."""
    return _variant(model, folder, str, lambda sample: {"probabilities": sample.probabilities[::-1]})


def altered(model: Path, folder: Path) -> Variant:
    """Return a model whose graph has an additional byte, so that its sha256 differs from the manifest's."""
    found = _variant(model, folder, str, lambda sample: {})
    with (folder / artifacts.ONNX_MODEL).open("ab") as graph:
        graph.write(b"x")
    return found


def place(source: Path, target: Path) -> None:
    """Copy the files without the verification of `relu-pipeline swap`, which rejects altered files."""
    for name in (*artifacts.read(source / artifacts.MANIFEST, Manifest).files, artifacts.MANIFEST):
        artifacts.copy(source / name, target / name)


def _other_name(label: str) -> str:
    return f"{label} (renamed)"


def _variant(
    model: Path, folder: Path, name: Callable[[str], str], change: Callable[[Sample], dict[str, object]]
) -> Variant:
    place(model, folder)
    samples = artifacts.read(folder / artifacts.SAMPLES, Samples).samples
    changed = [sample.model_copy(update=change(sample)) for sample in samples]
    artifacts.write(folder / artifacts.SAMPLES, Samples(samples=changed))
    manifest = artifacts.read(folder / artifacts.MANIFEST, Manifest)
    labels = [name(label) for label in manifest.labels]
    version = f"{manifest.version} {folder.name}"
    digest = {artifacts.SAMPLES: artifacts.sha256_of(folder / artifacts.SAMPLES)}
    update = {"version": version, "labels": labels, "files": manifest.files | digest}
    artifacts.write(folder / artifacts.MANIFEST, manifest.model_copy(update=update))
    return Variant(folder, version, frozenset(labels))
