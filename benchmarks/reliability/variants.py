"""Copies of a served model, each other in one respect and with a version of its own."""

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
    """The model itself."""
    manifest = artifacts.read(model / artifacts.MANIFEST, Manifest)
    place(model, folder)
    return Variant(folder, manifest.version, frozenset(manifest.labels))


def renamed(model: Path, folder: Path) -> Variant:
    """A good one, with other labels."""
    return _variant(model, folder, _other_name, lambda sample: {"label": _other_name(sample.label)})


def unlike(model: Path, folder: Path) -> Variant:
    """Its graphs do not answer as its samples and its manifest say."""
    return _variant(model, folder, str, lambda sample: {"probabilities": sample.probabilities[::-1]})


def altered(model: Path, folder: Path) -> Variant:
    """Its graph has a byte more than the one whose sha256 its manifest names."""
    found = _variant(model, folder, str, lambda sample: {})
    with (folder / artifacts.ONNX_MODEL).open("ab") as graph:
        graph.write(b"x")
    return found


def place(source: Path, target: Path) -> None:
    """As `relu-pipeline swap`, which would not take an altered file."""
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
