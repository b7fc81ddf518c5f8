"""The report on the data: what stops a run, what does not, and that nothing is lost without a word."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relu_pipeline import artifacts
from relu_pipeline.artifacts import SPLITS, DataReport, Source, Unreadable
from relu_pipeline.config import ImagePrepareConfig, TaskName, ValidationConfig, load_params
from relu_pipeline.data.image_folder import read_split
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.prepare import prepare_images
from relu_pipeline.data.sources import obtain
from relu_pipeline.errors import DataError
from relu_pipeline.validation.validate import validate
from tests.params import set_param

ROOT = Path(__file__).resolve().parents[3]
PARAMS = load_params(ROOT / "params.yaml")

Rows = Sequence[tuple[str, str]]  # text and label


def words(label: str, count: int, start: int = 0) -> list[tuple[str, str]]:
    return [(f"{label} number {number}", label) for number in range(start, start + count)]


def write_table(folder: Path, **splits: Rows) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        lines = (json.dumps({"text": text, "label": label}) for text, label in rows)
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def write_scene(path: Path, seed: int, side: int = 60) -> None:
    """An image of soft spots, different for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spots = np.random.default_rng(seed).integers(256, size=(9, 9, 3), dtype=np.uint8)
    Image.fromarray(spots).resize((side, side), Image.Resampling.BICUBIC).save(path)


def scenes(root: Path, classes: Mapping[str, int]) -> Path:
    for number, (label, count) in enumerate(classes.items()):
        for image in range(count):
            write_scene(root / label / f"{image}.png", 1000 * number + image)
    return root


def report_on(task: TaskName, location: Path, out: Path, **thresholds: float) -> DataReport:
    obtain(task, str(location), getattr(PARAMS, task).data, None, out / "raw")
    config = ValidationConfig.model_validate(PARAMS.validation.model_dump() | thresholds)
    return validate(task, out / "raw", config, out / "reports", out / "unreadable.json")


def errors(report: DataReport) -> str:
    return "\n".join(finding.message for finding in report.errors)


def warnings(report: DataReport) -> str:
    return "\n".join(finding.message for finding in report.findings if finding.level == "warning")


def test_sound_data_pass_without_a_word(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "in", train=words("a", 20) + words("b", 30), test=words("a", 5, 90) + words("b", 5, 90)
    )
    report = report_on("text", table, tmp_path)
    assert report.findings == []
    assert report.rows == {"train": {"a": 20, "b": 30}, "test": {"a": 5, "b": 5}}
    assert report.sizes["words"]["train"].median == 3
    assert artifacts.read(tmp_path / "unreadable.json", Unreadable).rows == {"train": [], "test": []}
    assert artifacts.read(tmp_path / "reports/data.json", DataReport) == report
    assert "No errors." in (tmp_path / "reports/data.md").read_text()


def test_half_of_the_test_rows_in_train_stop_the_run_and_the_report_stays(tmp_path: Path) -> None:
    train = words("a", 20) + words("b", 20)
    table = write_table(tmp_path / "in", train=train, test=train[:10] + words("b", 10, 90))
    report = report_on("text", table, tmp_path)
    assert errors(report) == (
        "10 of 20 (50 %) test examples are also in train, for example test.jsonl, line 1 = train.jsonl, line 1; "
        "memorising them inflates the scores: remove them from train or test, or raise validation.max_shared "
        "(0.1) in params.yaml"
    )
    assert not (tmp_path / "unreadable.json").exists()
    assert "10 of 20 (50 %) test examples" in (tmp_path / "reports/data.md").read_text()
    assert Image.open(tmp_path / "reports/data.png").size > (100, 100)
    assert not report_on("text", table, tmp_path, max_shared=0.5).errors


def test_validation_rows_in_train_and_repeated_rows_are_told_apart(tmp_path: Path) -> None:
    train, test = words("a", 20) + words("b", 20), words("a", 5, 90) + words("b", 5, 90)
    val = [*train[:6], *words("b", 14, 50)]
    shared = report_on("text", write_table(tmp_path / "shared", train=train, val=val, test=test), tmp_path / "1")
    assert "6 of 20 (30 %) val examples are also in train" in errors(shared)
    repeated = write_table(tmp_path / "repeated", train=[*train, *train[:3]], val=words("b", 9, 50), test=test)
    report = report_on("text", repeated, tmp_path / "2")
    assert not report.errors
    assert "3 of 43 (6.98 %) train examples repeat an earlier one" in warnings(report)


def test_rows_that_differ_in_case_alone_warn(tmp_path: Path) -> None:
    train = words("a", 20) + words("b", 20)
    test = [(f"{text.upper()}!", label) for text, label in train[:10]] + words("b", 10, 90)
    report = report_on("text", write_table(tmp_path / "in", train=train, test=test), tmp_path)
    assert not report.errors
    assert "10 of 20 (50 %) test examples have a near duplicate in train" in warnings(report)
    assert "case, punctuation or white space" in warnings(report)


def test_contradicting_labels_are_named(tmp_path: Path) -> None:
    train = [*words("a", 20), *words("b", 20), ("a number 3", "b"), ("A number 4.", "b")]
    table = write_table(tmp_path / "in", train=train, test=words("a", 5, 90) + words("b", 5, 90))
    report = report_on("text", table, tmp_path)
    assert not report.errors
    places = "train.jsonl, line 4 = train.jsonl, line 41: a and b"
    assert f"2 of 52 (3.85 %) examples have another label than an equal one, for example {places}" in warnings(report)
    assert "2 of 52 (3.85 %) examples have another label than a nearly equal one" in warnings(report)
    assert "raise validation.max_contradicting (0.01)" in errors(
        report_on("text", table, tmp_path, max_contradicting=0.01)
    )


def test_a_class_without_training_rows_stops_and_one_without_test_rows_warns(tmp_path: Path) -> None:
    train = words("a", 20) + words("b", 20) + words("c", 1)
    test = words("a", 5, 90) + words("d|$x_1$", 5)
    report = report_on("text", write_table(tmp_path / "in", train=train, test=test), tmp_path)
    assert "2 of 4 (50 %) classes have fewer than 2 examples in train: c (1), d|$x_1$ (0);" in errors(report)
    assert "lower validation.min_class_rows (2) in params.yaml" in errors(report)
    assert "test lacks 2 of 4 (50 %) classes: b, c" in warnings(report)
    assert r"| d\|\$x_1\$ | 0 | 5 |" in (tmp_path / "reports/data.md").read_text()
    report = report_on("text", tmp_path / "in", tmp_path, min_class_rows=1)
    assert "1 of 4 (25 %) classes have fewer than 1 examples in train: d|$x_1$ (0);" in errors(report)


def test_imbalance_warns(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "in", train=words("a", 50) + words("b", 4), test=words("a", 5, 90) + words("b", 5, 90)
    )
    assert "train has 50 examples of a, but 4 of b" in warnings(report_on("text", table, tmp_path))
    assert not report_on("text", table, tmp_path, max_imbalance=13).findings


def test_rows_that_download_left_out_count_and_are_named(tmp_path: Path) -> None:
    train = [*words("a", 20), *words("b", 20), ("", "a"), ("b", " ")]
    table = write_table(tmp_path / "in", train=train, test=words("a", 5, 90) + words("b", 5, 90))
    report = report_on("text", table, tmp_path)
    named = "train.jsonl, line 41: has no text; train.jsonl, line 42: has no label"
    assert f"2 of 52 (3.85 %) files or rows are left out: {named}; the run continues without them" in warnings(report)
    assert "raise validation.max_left_out (0.01)" in errors(report_on("text", table, tmp_path, max_left_out=0.01))
    assert "| train.jsonl, line 41 | has no text |" in (tmp_path / "reports/data.md").read_text()


def test_a_hostile_folder_is_prepared_without_what_cannot_be_decoded(tmp_path: Path) -> None:
    root = scenes(tmp_path / "in", {"a": 40, "b": 40, "c 'quoted' | <b>": 4})
    for number, name in enumerate(("a/with space.png", "a/quote'\".png", "b/🐈.png", "b/new\nline.png", "b/$(x);.png")):
        write_scene(root / name, 9000 + number)
    write_scene(root / "a/whole.png", 9999, 300)
    whole = (root / "a/whole.png").read_bytes()
    bad = {"a/cut.png": whole[: len(whole) // 2], "b/cut\n.png": whole[: len(whole) // 2], "b/header.png": whole[:40]}
    bad |= {"a/empty.png": b"", "a/text.jpg": b"no image", "b/drawing.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n"}
    for name, content in bad.items():
        (root / name).write_bytes(content)
    Image.new("RGB", (20_000, 3)).save(root / "b/long.png")
    (root / "a/loop").symlink_to(root / "a")
    (root / "a/nowhere.png").symlink_to(root / "nothing")
    (root / os.fsdecode(b"a/latin\xe9.png")).write_bytes(whole)
    (root / "empty class").mkdir()
    (root / "drawings").mkdir()
    (root / "drawings/1.eps").write_bytes(b"%!PS")

    report = report_on("image", root, tmp_path, max_left_out=0.2)
    assert not report.errors
    reasons = {left.place: left.why for left in report.left_out}
    shown = {ascii(name) if "\n" in name else name for name in bad}
    latin = ascii(os.fsdecode(b"a/latin\xe9.png"))
    hollow = {"empty class/", "drawings/"}
    assert reasons.keys() == shown | hollow | {"b/long.png", "a/nowhere.png", "drawings/1.eps", latin}
    assert "20,000 x 3" in reasons["b/long.png"]
    assert reasons["empty class/"] == "has no readable image and is not a class"
    page = (tmp_path / "reports/data.md").read_text()
    assert all(line.startswith(("#", "-", "|", "!")) or line[-1] in ".:" for line in page.splitlines() if line)

    unreadable = artifacts.read(tmp_path / "unreadable.json", Unreadable).rows
    assert sum(map(len, unreadable.values())) == 4  # the others were no example from the start
    prepare_images(tmp_path / "raw", ImagePrepareConfig(val_fraction=0.2, size=32), tmp_path / "out", unreadable)
    splits = {split: ImageSplit.load(tmp_path / "out", split) for split in SPLITS}
    assert sum(map(len, splits.values())) == 40 + 40 + 4 + 5 + 1
    assert {split: len(splits[split]) for split in ("test",)} == {"test": sum(report.rows["test"].values())}
    readable = np.setdiff1d(np.arange(len(read_split(tmp_path / "raw", "test", 3)[1])), unreadable["test"])
    assert splits["test"].labels.tolist() == read_split(tmp_path / "raw", "test", 3)[1][readable].tolist()


def test_too_many_unreadable_images_stop_the_run(tmp_path: Path) -> None:
    root = scenes(tmp_path / "in", {"a": 20, "b": 20})
    content = (root / "a/3.png").read_bytes()
    for number in range(3):
        (root / f"a/{number}.png").write_bytes(content[: len(content) // 2])
    report = report_on("image", root, tmp_path)
    assert "3 of 40 (7.5 %) files or rows are left out: a/0.png: " in errors(report)
    assert "raise validation.max_left_out (0.05) in params.yaml" in errors(report)


def test_a_class_whose_images_are_all_unreadable_stops_the_run(tmp_path: Path) -> None:
    root = scenes(tmp_path / "in", {"a": 40, "b": 40, "c": 2})
    for path in (root / "c").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    assert "classes have fewer than 2 examples in train: c (0)" in errors(report_on("image", root, tmp_path))


def test_an_image_that_changed_since_it_was_listed_is_no_bad_image(tmp_path: Path) -> None:
    root = scenes(tmp_path / "in", {"a": 5, "b": 5})
    report_on("image", root, tmp_path)
    write_scene(root / "a/1.png", 77)
    with pytest.raises(DataError, match=r"a/1\.png: has changed since it was listed; run `dvc repro`"):
        validate("image", tmp_path / "raw", PARAMS.validation, tmp_path / "reports", tmp_path / "unreadable.json")


def test_copies_of_images_across_splits_stop_the_run(tmp_path: Path) -> None:
    root = scenes(tmp_path / "in/train", {"a": 10, "b": 10}).parent
    for number in range(5):
        (root / "test/a").mkdir(parents=True, exist_ok=True)
        (root / f"test/a/copy {number}.png").write_bytes((root / f"train/b/{number}.png").read_bytes())
    write_scene(root / "test/b/1.png", 9999)
    with Image.open(root / "train/b/7.png") as image:
        image.save(root / "test/b/2.jpg", quality=70)
    report = report_on("image", root, tmp_path)
    assert "5 of 7 (71.4 %) test examples are also in train, for example test/a/copy 0.png = train/b/0.png" in errors(
        report
    )
    assert (
        "1 of 7 (14.3 %) test examples have a near duplicate in train, for example test/b/2.jpg = train/b/7.png"
        in warnings(report)
    )
    assert "10 of 27 (37 %) examples have another label than an equal one" in errors(report)


@pytest.mark.parametrize("count", [2, 77, 150, 3000])
def test_the_picture_has_room_for_all_classes(tmp_path: Path, count: int) -> None:
    labels = [f"a class of a long name 名 $ {number}" for number in range(count)]
    train = [row for label in labels for row in words(label, 3)]
    report_on("text", write_table(tmp_path / "in", train=train, test=train[:3]), tmp_path)
    with Image.open(tmp_path / "reports/data.png") as picture:
        assert 120 * 0.13 * min(count, 400) < picture.height < 10_000


def test_the_report_is_the_same_twice(tmp_path: Path) -> None:
    root = scenes(tmp_path / "in", {"a": 5, "b": 5})
    written = []
    for _ in range(2):
        report_on("image", root, tmp_path)
        written.append([(tmp_path / f"reports/data.{ending}").read_bytes() for ending in ("json", "md", "png")])
    assert written[0] == written[1]


@pytest.mark.parametrize(("task", "form"), [("image", "cifar10"), ("text", "ag_news")])
def test_the_demo_data_pass(demo_raw: Path, tmp_path: Path, task: TaskName, form: str) -> None:
    report = validate(task, demo_raw / form, PARAMS.validation, tmp_path, tmp_path / "unreadable.json")
    assert not report.errors
    assert all(
        "train row" in pair.place or "test row" in pair.place for each in report.duplicates for pair in each.examples
    )


@pytest.mark.real_data
@pytest.mark.parametrize(("task", "name"), [("image", "cifar10"), ("text", "ag_news")])
def test_the_published_data_pass(mirror: Path, tmp_path: Path, task: TaskName, name: str) -> None:
    source = obtain(task, str(ROOT / f"configs/data/{name}.yaml"), getattr(PARAMS, task).data, mirror, tmp_path / "raw")
    report = validate(task, tmp_path / "raw", PARAMS.validation, tmp_path, tmp_path / "unreadable.json")
    assert not report.errors
    assert {split: sum(classes.values()) for split, classes in report.rows.items()} == source.rows


def test_the_stage_prints_each_finding_in_a_line_and_fails(tmp_path: Path) -> None:
    train = words("a", 20) + words("b", 20)
    write_table(tmp_path / "in", train=train, test=[*train[:10], ("two\nlines", "a"), ("two\nlines", "b")])
    obtain("text", str(tmp_path / "in"), PARAMS.text.data, None, tmp_path / "data/raw/text")
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())

    def stage() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipelines.validate", "text"]
        environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    failed = stage()
    assert failed.returncode == 1
    lines = failed.stderr.splitlines()
    assert all(line.startswith(("error: ", "warning: ")) for line in lines)
    levels = [line.split(":")[0] for line in lines]
    assert levels == sorted(levels, reverse=True)
    assert lines[-1] == "error: the data of the task text have errors (1), listed above and in reports/text/data.md"
    assert (tmp_path / "reports/text/data.md").is_file()
    set_param(tmp_path / "params.yaml", "validation.max_shared", 0.9)
    passed = stage()
    assert (passed.returncode, passed.stdout) == (
        0,
        "text: no errors in the data, warnings: 3; see reports/text/data.md\n",
    )
    assert artifacts.read(tmp_path / "data/raw/text/source.json", Source).rows == {"train": 40, "test": 12}
