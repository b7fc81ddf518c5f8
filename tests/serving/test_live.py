"""Which files in `models/<task>/` a running service takes into use."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from benchmarks.reliability import variants
from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest
from relu_pipeline.swap import swap
from serving.errors import ModelError
from serving.live import LiveModel
from serving.settings import load_settings

TASK = "text"


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    variants.place(models / TASK, tmp_path / "served")
    return tmp_path / "served"


@pytest.fixture
def live(folder: Path) -> LiveModel:
    return LiveModel("text", folder, load_settings())


def reloads(result: str) -> float:
    return REGISTRY.get_sample_value("relu_reloads_total", {"task": TASK, "result": result}) or 0.0


def follow_to_the_end(live: LiveModel) -> None:
    """Files are taken up once they have stayed the same for a call."""
    live.follow()
    live.follow()


def change_manifest(folder: Path, **changes: object) -> None:
    path = folder / artifacts.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_stays_the_same_is_not_read_again(live: LiveModel) -> None:
    first, counted = live.current, reloads("ok")
    follow_to_the_end(live)
    assert live.current is first
    assert reloads("ok") == counted


def test_a_new_model_is_taken_up_once_its_files_rest(live: LiveModel, folder: Path, tmp_path: Path) -> None:
    new = variants.renamed(folder, tmp_path / "renamed")
    first, counted = live.current, reloads("ok")
    swap(TASK, new.folder, folder)
    live.follow()
    assert live.current is first
    live.follow()
    assert live.current.version.version == new.version
    assert set(live.current.labels) == new.labels
    assert live.problem is None
    assert reloads("ok") == counted + 1
    assert shown(first) == 0
    assert shown(live.current) == 1


def test_a_model_that_differs_in_its_labels_alone_is_still_shown_as_served(live: LiveModel, folder: Path) -> None:
    first = live.current
    change_manifest(folder, labels=[f"new {label}" for label in first.labels])
    follow_to_the_end(live)
    assert live.current is not first
    assert shown(live.current) == 1


def shown(model: "LiveModel | object") -> float | None:
    labels = model.version.model_dump() | {"task": model.task, "precision": model.precision}
    return REGISTRY.get_sample_value("relu_model_info", labels)


def test_files_without_their_manifest_change_nothing(live: LiveModel, folder: Path, tmp_path: Path) -> None:
    """A swap that has not come to its end, however long it takes."""
    new = variants.renamed(folder, tmp_path / "renamed")
    first, refused = live.current, reloads("refused")
    artifacts.copy(new.folder / artifacts.SAMPLES, folder / artifacts.SAMPLES)
    follow_to_the_end(live)
    follow_to_the_end(live)
    assert live.current is first
    assert reloads("refused") == refused
    swap(TASK, new.folder, folder)
    follow_to_the_end(live)
    assert live.current.version.version == new.version


@pytest.mark.parametrize("make", [variants.altered, variants.unlike])
def test_a_wrong_model_leaves_the_earlier_in_use_until_it_is_mended(
    live: LiveModel, folder: Path, tmp_path: Path, make: Callable[[Path, Path], variants.Variant]
) -> None:
    renamed = variants.renamed(folder, tmp_path / "renamed")
    first, refused = live.current, reloads("refused")
    variants.place(make(folder, tmp_path / "wrong").folder, folder)
    follow_to_the_end(live)
    assert live.current is first
    assert live.problem is not None
    assert "dvc repro" in live.problem
    assert reloads("refused") == refused + 1
    follow_to_the_end(live)
    assert reloads("refused") == refused + 1  # it is said once
    variants.place(renamed.folder, folder)
    follow_to_the_end(live)
    assert live.current.version.version == renamed.version
    assert live.problem is None


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


def rehash(folder: Path, name: str) -> None:
    files = artifacts.read(folder / artifacts.MANIFEST, Manifest).files
    change_manifest(folder, version="rehashed", files=files | {name: artifacts.sha256_of(folder / name)})


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
def test_whatever_is_wrong_is_refused_with_a_reason(
    live: LiveModel, folder: Path, harm: Callable[[Path], None]
) -> None:
    first = live.current
    harm(folder)
    follow_to_the_end(live)
    assert live.current is first
    assert live.problem


@pytest.mark.parametrize("harm", WRONG)
def test_whatever_is_wrong_is_an_error_with_a_reason_at_the_start(folder: Path, harm: Callable[[Path], None]) -> None:
    harm(folder)
    with pytest.raises(ModelError):
        LiveModel("text", folder, load_settings())


def test_where_int8_was_chosen_a_model_without_it_is_taken_up(
    live: LiveModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` means the faster of those that may be served, whatever an earlier model had."""
    monkeypatch.setenv("RELU_CHOSEN_PRECISION_TEXT", "int8")
    int8 = artifacts.read(folder / artifacts.MANIFEST, Manifest).int8.model_dump(mode="json")
    change_manifest(folder, version="fp32 only", int8=int8 | {"refused": "it loses accuracy"})
    follow_to_the_end(live)
    assert (live.problem, live.current.version.version, live.current.precision) == (None, "fp32 only", "fp32")


def test_a_file_that_is_only_touched_changes_nothing(live: LiveModel, folder: Path) -> None:
    first = live.current
    os.utime(folder / artifacts.MANIFEST)
    follow_to_the_end(live)
    assert live.current is first
