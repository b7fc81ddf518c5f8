"""ModelStore: which files in `models/<task>/` a running service takes into use, and which it refuses."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY

from benchmarks.reliability import variants
from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest
from relu_pipeline.swap import swap
from serving.drift import Drift
from serving.errors import ModelError
from serving.metrics import add_zero_fractions
from serving.model import Model
from serving.model_store import ModelStore
from serving.settings import load_settings

TASK = "text"
RETRY_S = 10.0  # as docs/serving.md says


@dataclass
class Clock:
    """Replaces the monotonic clock of `serving.model_store`."""

    now_s: float = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("serving.model_store.time", SimpleNamespace(monotonic=lambda: clock.now_s))
    return clock


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    variants.place(models / TASK, tmp_path / "served")
    return tmp_path / "served"


@pytest.fixture
def store(folder: Path) -> ModelStore:
    return ModelStore(TASK, folder, load_settings())


def reloads(result: str) -> float:
    return REGISTRY.get_sample_value("relu_reloads_total", {"task": TASK, "result": result}) or 0.0


def follow_until_settled(store: ModelStore) -> None:
    """Files are taken into use once they have stayed the same for a call."""
    store.follow()
    store.follow()


def change_manifest(folder: Path, **changes: object) -> None:
    path = folder / artifacts.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def is_served(model: Model) -> float | None:
    """Return the value of `relu_model_info` for the model."""
    labels = model.version.model_dump() | {"task": model.task, "precision": model.precision}
    return REGISTRY.get_sample_value("relu_model_info", labels)


def rehash(folder: Path, name: str) -> None:
    """Put the digest of a changed file into the manifest."""
    files = artifacts.read(folder / artifacts.MANIFEST, Manifest).files
    change_manifest(folder, version="rehashed", files=files | {name: artifacts.sha256_of(folder / name)})


def test_files_that_stay_the_same_are_not_read_again(store: ModelStore) -> None:
    first, counted = store.current, reloads("ok")
    follow_until_settled(store)
    assert store.current is first
    assert reloads("ok") == counted


def test_a_new_model_is_served_once_its_files_have_settled(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    new = variants.renamed(folder, tmp_path / "renamed")
    first, counted = store.current, reloads("ok")
    swap(TASK, new.folder, folder)
    store.follow()
    assert store.current is first
    store.follow()
    assert store.current.version.version == new.version
    assert set(store.current.labels) == new.labels
    assert store.problem is None
    assert reloads("ok") == counted + 1
    assert (is_served(first), is_served(store.current)) == (0, 1)


def test_files_that_keep_changing_are_not_read(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    new = variants.renamed(folder, tmp_path / "renamed")
    first = store.current
    swap(TASK, new.folder, folder)
    for second in range(5):
        store.follow()
        os.utime(folder / artifacts.SAMPLES, (second, second))
    assert store.current is first
    follow_until_settled(store)
    assert store.current.version.version == new.version


def test_a_new_model_of_the_same_version_is_shown_as_served(store: ModelStore, folder: Path) -> None:
    first = store.current
    change_manifest(folder, labels=[f"new {label}" for label in first.labels])
    follow_until_settled(store)
    assert store.current is not first
    assert is_served(store.current) == 1


def test_a_new_model_begins_without_the_drift_of_the_old_one(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    def drift() -> list[float | None]:
        return [REGISTRY.get_sample_value(name, {"task": TASK}) for name in ("relu_drift", "relu_drift_raised")]

    add_zero_fractions(TASK, {}, 1, Drift(0.9, 0.2, 1, 1, "2026-01-01T00:00:00+00:00", {}, None))
    assert drift() == [0.9, 1]
    swap(TASK, variants.renamed(folder, tmp_path / "renamed").folder, folder)
    follow_until_settled(store)
    assert drift() == [0, 0]


def test_new_files_without_their_manifest_change_nothing(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    """A swap that has not come to its end, however long it takes."""
    new = variants.renamed(folder, tmp_path / "renamed")
    first, refused = store.current, reloads("refused")
    artifacts.copy(new.folder / artifacts.SAMPLES, folder / artifacts.SAMPLES)
    follow_until_settled(store)
    follow_until_settled(store)
    assert store.current is first
    assert reloads("refused") == refused
    swap(TASK, new.folder, folder)
    follow_until_settled(store)
    assert store.current.version.version == new.version


@pytest.mark.parametrize("make", [variants.altered, variants.unlike])
def test_a_wrong_model_leaves_the_earlier_one_in_use_until_it_is_corrected(
    store: ModelStore, folder: Path, tmp_path: Path, make: Callable[[Path, Path], variants.Variant]
) -> None:
    renamed = variants.renamed(folder, tmp_path / "renamed")
    first, refused = store.current, reloads("refused")
    variants.place(make(folder, tmp_path / "wrong").folder, folder)
    follow_until_settled(store)
    assert store.current is first
    assert is_served(first) == 1
    assert store.problem is not None
    assert "dvc repro" in store.problem
    assert reloads("refused") == refused + 1
    variants.place(renamed.folder, folder)
    follow_until_settled(store)
    assert store.current.version.version == renamed.version
    assert store.problem is None


def test_a_problem_is_counted_and_logged_once_however_often_it_is_met(
    store: ModelStore, folder: Path, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def counts() -> tuple[float, int]:
        return reloads("refused") - before, sum("stays in use" in record.getMessage() for record in caplog.records)

    first, before = variants.first(folder, tmp_path / "first"), reloads("refused")
    for number, harm in enumerate((not_json, without_files), start=1):
        harm(folder)
        for _ in range(3):
            follow_until_settled(store)
            clock.now_s += RETRY_S
        assert counts() == (number, number)
    variants.place(first.folder, folder)
    follow_until_settled(store)
    without_files(folder)
    follow_until_settled(store)
    assert counts() == (3, 3)


def make_unreadable(file: Path) -> Callable[[], None]:
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read every file")
    return lambda: file.chmod(0o644)


def damage_in_place(file: Path) -> Callable[[], None]:
    """As a file looks whose bytes have not all arrived: the stamp is the same afterwards."""
    content, stat = file.read_bytes(), file.stat()

    def write(wanted: bytes) -> None:
        file.write_bytes(wanted)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    write(b"")
    return lambda: write(content)


@pytest.mark.parametrize("name", [artifacts.MANIFEST, artifacts.ONNX_MODEL])
@pytest.mark.parametrize("break_", [make_unreadable, damage_in_place])
def test_a_model_that_could_not_be_read_for_a_while_is_tried_again_without_a_new_file(
    store: ModelStore,
    folder: Path,
    tmp_path: Path,
    clock: Clock,
    break_: Callable[[Path], Callable[[], None]],
    name: str,
) -> None:
    first, new = store.current, variants.renamed(folder, tmp_path / "renamed")
    swap(TASK, new.folder, folder)
    repair = break_(folder / name)
    follow_until_settled(store)
    assert store.problem is not None
    repair()
    clock.now_s += 0.9 * RETRY_S
    follow_until_settled(store)
    assert (store.current is first, store.problem is None) == (True, False)
    clock.now_s += 0.1 * RETRY_S
    store.follow()
    assert (store.current.version.version, store.problem) == (new.version, None)


def not_json(folder: Path) -> None:
    (folder / artifacts.MANIFEST).write_text("{")


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def without_files(folder: Path) -> None:
    (folder / artifacts.MANIFEST).write_text("{}")


def a_list(folder: Path) -> None:
    (folder / artifacts.MANIFEST).write_text("[]")


def without_a_list_of_files(folder: Path) -> None:
    change_manifest(folder, files=None)


def nested_without_end(folder: Path) -> None:
    (folder / artifacts.MANIFEST).write_text("[" * 100_000)


def not_a_graph(folder: Path) -> None:
    (folder / artifacts.ONNX_MODEL).write_bytes(b"no graph")
    rehash(folder, artifacts.ONNX_MODEL)


def not_a_tokenizer(folder: Path) -> None:
    (folder / artifacts.TOKENIZER).write_text("{}")
    rehash(folder, artifacts.TOKENIZER)


def samples_of_other_classes(folder: Path) -> None:
    content = json.loads((folder / artifacts.SAMPLES).read_text())
    for sample in content["samples"]:
        sample["probabilities"].append(0.0)
    (folder / artifacts.SAMPLES).write_text(json.dumps(content))
    rehash(folder, artifacts.SAMPLES)


def too_few_labels(folder: Path) -> None:
    manifest = artifacts.read(folder / artifacts.MANIFEST, Manifest)
    change_manifest(folder, version="few", labels=manifest.labels[:-1])


def of_another_task(folder: Path) -> None:
    change_manifest(folder, version="other", task="image")


WRONG = [
    not_json,
    gone,
    without_files,
    a_list,
    without_a_list_of_files,
    nested_without_end,
    not_a_graph,
    not_a_tokenizer,
    samples_of_other_classes,
    too_few_labels,
    of_another_task,
]


@pytest.mark.parametrize("harm", WRONG)
def test_a_wrong_new_model_is_refused_with_a_reason(
    store: ModelStore, folder: Path, harm: Callable[[Path], None]
) -> None:
    first = store.current
    harm(folder)
    follow_until_settled(store)
    assert store.current is first
    assert store.problem


@pytest.mark.parametrize("harm", WRONG)
def test_a_wrong_model_is_an_error_at_the_start(folder: Path, harm: Callable[[Path], None]) -> None:
    harm(folder)
    with pytest.raises(ModelError):
        ModelStore(TASK, folder, load_settings())


def test_a_new_model_without_int8_is_served_in_fp32_although_int8_was_faster(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` means the faster of those that may be served, whatever an earlier model had."""
    monkeypatch.setattr("serving.model.faster", lambda *_: True)
    store = ModelStore(TASK, folder, load_settings())
    assert store.current.precision == "int8"
    int8 = artifacts.read(folder / artifacts.MANIFEST, Manifest).int8.model_dump(mode="json")
    change_manifest(folder, version="fp32 only", int8=int8 | {"refused": "it loses accuracy"})
    follow_until_settled(store)
    assert (store.problem, store.current.version.version, store.current.precision) == (None, "fp32 only", "fp32")


def test_a_file_that_is_only_touched_changes_nothing(store: ModelStore, folder: Path) -> None:
    first = store.current
    os.utime(folder / artifacts.MANIFEST)
    follow_until_settled(store)
    assert store.current is first
