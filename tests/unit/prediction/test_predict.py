"""`relu-pipeline predict`: the service's answers in a table, and what is wrong in one line."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from relu_pipeline.data.digits import digits
from relu_pipeline.data.pictures import MAX_BYTES
from relu_pipeline.errors import ArtifactError
from relu_pipeline.prediction.predict import predict_images, predict_texts
from serving.predictor import Predictor
from serving.settings import load_settings

TEXTS = ["The striker wins the cup final", "Oil prices fall as the bank raises rates", "A new chip", "", "Élections 🎉"]
TOPICS = ["Sports", "Business", "Sci/Tech", "World", "World"]


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relu_pipeline.cli", "predict", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def as_answer(row: Mapping[str, Any]) -> tuple[str, np.float32] | str:
    return row["error"] or (row["label"], np.float32(row["probability"]))


def answers(models: Path, task: str, items: list[Any], precision: str = "fp32") -> list[tuple[str, np.float32] | str]:
    """The service's, to each item alone."""
    settings = load_settings().model_copy(update={"precision": precision, "device": "cpu"})
    predictor = Predictor(models, settings)
    entries = [predictor.classify_batch(task, [item])["predictions"][0] for item in items]
    return [
        entry["error"]["message"] if "error" in entry else (entry["label"], np.float32(entry["probability"]))
        for entry in entries
    ]


def assert_same(found: list[tuple[str, np.float32] | str], expected: list[tuple[str, np.float32] | str]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, str) == isinstance(other, str)
        if isinstance(one, str):
            assert one == other
        else:
            assert one[0] == other[0]
            assert one[1] == pytest.approx(other[1], abs=1e-6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Handwritten digits in folders of their classes, and what else lies about."""
    root = tmp_path / "digits"
    images, labels = digits()
    for number, (image, label) in enumerate(zip(images[:150], labels[:150], strict=True)):
        path = root / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (root / "3/note.txt").write_text("no image")
    with (root / "3/video.mp4").open("wb") as video:
        video.truncate(MAX_BYTES + 1)
    (root / "3/Thumbs.db").write_bytes(b"no image")
    (root / "above.png").write_bytes((root / "0/0.png").read_bytes())
    return root


def write_table(path: Path, texts: list[str] = TEXTS, labels: list[str] = TOPICS) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter=";")
        rows.writerows([("id", "words", "topic"), *zip(range(len(texts)), texts, labels, strict=True)])
    return path


def test_a_folder_of_classes_is_predicted_as_by_the_service_and_measured(
    folder: Path, models: Path, tmp_path: Path
) -> None:
    done = command("image", folder, "--models", models, "--out", tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out.csv")
    assert list(rows[0]) == ["file", "label", "probability", "actual", "error"]
    assert [row["file"] for row in rows[:3]] == ["above.png", "0/0.png", "0/10.png"]
    assert len(rows) == 153
    (video,) = [row for row in rows if row["file"] == "3/video.mp4"]
    rows.remove(video)
    assert video["error"] == "The file has 400,000,001 bytes; images have at most 400,000,000."
    contents = [(folder / row["file"]).read_bytes() for row in rows]
    assert_same([*map(as_answer, rows)], answers(models, "image", contents))
    assert [row["actual"] for row in rows] == [*("" if "/" not in row["file"] else row["file"][0] for row in rows)]
    right = [row["label"] == row["actual"] for row in rows if row["actual"] and not row["error"]]
    assert f"accuracy {np.mean(right):.4f}, " in done.stdout
    assert ": 151 images by relu-pipeline-image" in done.stdout
    assert "on 150 labelled images" in done.stdout
    assert "no metrics" not in done.stdout
    assert "2 could not be read, see the column error; the first: file 3/note.txt: The file is not" in done.stdout


def test_an_archive_is_as_its_folder(folder: Path, models: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "digits.tar.gz", "w:gz") as archive:
        archive.add(folder, "digits")
    for location, name in ((folder, "a.csv"), (tmp_path / "digits.tar.gz", "b.csv")):
        predict_images(location, tmp_path / name, models, "fp32")
    one, other = rows_of(tmp_path / "a.csv"), rows_of(tmp_path / "b.csv")
    assert [row | {"file": f"digits/{row['file']}"} for row in one] == other


def test_a_folder_without_classes_and_one_image_have_no_actual_labels(
    folder: Path, models: Path, tmp_path: Path
) -> None:
    (folder / "other").mkdir()
    for number in range(3):
        (folder / f"{number}").rename(folder / f"other/x{number}")
    summary = predict_images(folder / "other", tmp_path / "a.csv", models, "fp32")
    assert "no metrics: no folder has the name of a class" in summary
    assert "no metrics" not in predict_images(folder / "above.png", tmp_path / "b.csv", models, "fp32")
    (row,) = rows_of(tmp_path / "b.csv")
    assert row["file"] == "above.png"
    assert "actual" not in {*row, *rows_of(tmp_path / "a.csv")[0]}


def test_a_folder_of_another_class_is_counted_as_mistakes(folder: Path, models: Path, tmp_path: Path) -> None:
    for number in range(1, 10):
        shutil.rmtree(folder / str(number))
    (folder / "letters").mkdir()
    (folder / "letters/a.png").write_bytes((folder / "0/0.png").read_bytes())
    summary = predict_images(folder, tmp_path / "a.csv", models, "fp32")
    assert "labels that the model does not have count as mistakes: 1 (letters)" in summary
    assert {row["actual"] for row in rows_of(tmp_path / "a.csv")} == {"", "0", "letters"}


@pytest.mark.parametrize("place", ["0/below", "test/0", "train/0", "digits/test/0", "digits/0"])
def test_folders_of_classes_are_found_where_training_data_have_them(
    folder: Path, models: Path, tmp_path: Path, place: str
) -> None:
    root = tmp_path / "in"
    for name in (place, place.replace("0", "1").replace("below", "")):
        (root / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "above.png", root / name)
    predict_images(root, tmp_path / "a.csv", models, "fp32")
    assert [row["actual"] for row in rows_of(tmp_path / "a.csv")] == ["0", "1"]


def test_the_only_folder_of_a_class_is_no_wrapping(folder: Path, models: Path, tmp_path: Path) -> None:
    (tmp_path / "in/7/below").mkdir(parents=True)
    shutil.copy(folder / "above.png", tmp_path / "in/7/below")
    predict_images(tmp_path / "in", tmp_path / "a.csv", models, "fp32")
    (row,) = rows_of(tmp_path / "a.csv")
    assert (row["file"], row["actual"]) == ("7/below/above.png", "7")


def test_a_table_is_predicted_as_by_the_service_and_measured(models: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.csv")
    words = ("text", table, "--text", "words", "--label", "topic", "--models", models, "--out", tmp_path / "out.csv")
    done = command(*words)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out.csv")
    assert list(rows[0]) == ["row", "label", "probability", "actual", "error"]
    assert [row["row"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["actual"] for row in rows] == TOPICS
    assert_same([*map(as_answer, rows)], answers(models, "text", TEXTS))
    assert "on 4 labelled texts" in done.stdout
    assert "the first: row 4: The text is empty." in done.stdout


def test_rows_keep_their_order_and_predictions_do_not_depend_on_their_neighbours(models: Path, tmp_path: Path) -> None:
    texts = [f"{'the bank ' * (number % 90)} striker {number}" for number in range(1500)]
    predict_texts(write_table(tmp_path / "a.csv", texts, texts), ["words"], None, tmp_path / "o.csv", models, "fp32")
    rows = rows_of(tmp_path / "o.csv")
    assert [int(row["row"]) for row in rows] == [*range(1, 1501)]
    assert_same([*map(as_answer, rows)], answers(models, "text", texts))


def test_labels_of_other_classes_are_shown_beside_those_of_the_model(models: Path, tmp_path: Path) -> None:
    lines = [{"text": "a striker", "label": label} for label in ("red", "green")]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    summary = predict_texts(tmp_path / "a.jsonl", ["text"], "label", tmp_path / "o.csv", models, "fp32")
    classes = "World, Sports, Business, Sci/Tech"
    assert f"no metrics: no label (red, green) is a class of the model ({classes})" in summary


def test_parquet_has_what_csv_has(models: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.csv")
    for out in ("o.csv", "o.parquet"):
        predict_texts(table, ["id", "words"], "topic", tmp_path / out, models, "fp32")
    written = parquet.read_table(tmp_path / "o.parquet")
    assert [str(kind) for kind in written.schema.types] == ["int64", "string", "float", "string", "string"]
    rows = [{name: value or "" for name, value in row.items()} for row in written.to_pylist()]
    for row, other in zip(rows, rows_of(tmp_path / "o.csv"), strict=True):
        assert as_answer(row) == as_answer(other)
        assert (row["row"], row["actual"]) == (int(other["row"]), other["actual"])


def test_labels_and_file_names_that_are_no_unicode_are_written(models: Path, tmp_path: Path, folder: Path) -> None:
    lines = [{"text": "a striker", "label": "\ud800"}, {"text": "\ud800", "label": "World"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    predict_texts(tmp_path / "a.jsonl", ["text"], "label", tmp_path / "o.csv", models, "fp32")
    first, second = rows_of(tmp_path / "o.csv")
    assert first["actual"] == r"\ud800"
    assert "lone surrogate" in second["error"]
    os.rename(folder / "above.png", os.fsencode(folder) + b"/\xff\n.png")  # noqa: PTH104
    (folder / "3/note.txt").rename(folder / "3/3.04\u202fPM\n.txt")
    summary = predict_images(folder, tmp_path / "o.parquet", models, "fp32")
    files = parquet.read_table(tmp_path / "o.parquet")["file"].to_pylist()
    assert files[0] == "\\udcff\n.png"
    assert "3/3.04\u202fPM\n.txt" in files
    assert r"the first: file '3/3.04\u202fPM\n.txt': The file is not" in summary


def test_int8_is_the_service_s_int8_or_refused(models: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.csv")
    served = tmp_path / "models"
    shutil.copytree(models / "text", served / "text")
    manifest = json.loads((served / "text/manifest.json").read_text())
    for refused in (None, "it loses accuracy"):
        manifest["int8"]["refused"] = refused
        (served / "text/manifest.json").write_text(json.dumps(manifest))
        if refused:
            with pytest.raises(ArtifactError, match=r"int8 is not available: it loses accuracy; .*--precision fp32"):
                predict_texts(table, ["words"], None, tmp_path / "o.csv", served, "int8")
        else:
            predict_texts(table, ["words"], None, tmp_path / "o.csv", served, "int8")
            assert_same([*map(as_answer, rows_of(tmp_path / "o.csv"))], answers(served, "text", TEXTS, "int8"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("text", "a.csv", "--models", "nowhere"), r"nowhere/text/manifest.json: no such file; .*`dvc repro`"),
        (
            ("text", "a.csv", "--models", "swapped"),
            "swapped/text: the model is of the task image; name a folder with a model of the task text",
        ),
        (("text", "a.csv", "--models", "altered"), "altered/text/model.onnx: sha256 is "),
        (("text", "a.csv", "--text", "body"), "a.csv: has no column body; its columns are id, words, topic; .*--text"),
        (("text", "a.csv", "--text", "words", "--label", "x"), "a.csv: has no column x; its columns are id, words, "),
        (("text", "a.csv", "--text", "words", "--out", "o.xlsx"), r"o.xlsx: the name must end in one of .csv .parquet"),
        (("text", "a.csv", "--text", "words", "--out", "a.csv"), "a.csv: the output would overwrite the input"),
        (("text", "a.csv", "--text", "words", "--out", "a.csv/o.csv"), "a.csv.*; change --out"),
        (("text", "empty.csv", "--text", "words"), "empty.csv: no readable texts; .* row 1: The text is empty"),
        (("text", "header.csv", "--text", "words"), "header.csv: no readable texts"),
        (("text", "broken.csv", "--text", "words"), "broken.csv, line 902: has 1 columns, but the header has 2"),
        (("text", "none.csv"), "none.csv: No such file or directory"),
        (("image", "none"), "none: no such file or folder"),
        (("image", "bare"), "bare: no readable images"),
        (
            ("image", "a.csv"),
            "a.csv: no readable images; the first of 1: file a.csv: The file is not a readable",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_an_earlier_table_stays(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(Path("a.csv"))
    write_table(Path("empty.csv"), ["", " "], ["", ""])
    write_table(Path("header.csv"), [], [])
    Path("broken.csv").write_text("id,words\n" + "1,a striker\n" * 900 + "2\n")
    Path("bare").mkdir()
    Path("swapped").mkdir()
    Path("swapped/text").symlink_to(models / "image")
    shutil.copytree(models, "altered")
    with Path("altered/text/model.onnx").open("ab") as graph:
        graph.write(b"\0")
    before = {path: path.read_bytes() for path in (Path("a.csv"), Path("o.csv"), Path("o.xlsx")) if path.exists()}
    Path("o.csv").write_text("earlier")
    rest = [] if "--models" in words else ["--models", str(models)]
    done = command(*words, *rest, *([] if "--out" in words else ["--out", "o.csv"]))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert re.search(message, line), line
    assert "Traceback" not in done.stderr
    assert Path("o.csv").read_text() == "earlier"
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not list(Path().glob(".*.partial"))


def test_an_interrupt_leaves_an_earlier_table(models: Path, tmp_path: Path) -> None:
    table, out = write_table(tmp_path / "a.csv", ["the bank " * 50] * 100_000, ["x"] * 100_000), tmp_path / "o.csv"
    out.write_text("earlier")
    words = ["text", str(table), "--text", "words", "--models", str(models), "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-m", "relu_pipeline.cli", "predict", *words],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        end = time.monotonic() + 60
        while not (partial := tmp_path / ".o.csv.partial").exists() or not partial.stat().st_size:
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) != 0
    assert out.read_text() == "earlier"
    assert not partial.exists()


IN_A_PROCESS = """
import resource, sys
from relu_pipeline.cli import main
main()
print("torch" in sys.modules, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_table_and_torch_is_not_imported(models: Path, tmp_path: Path) -> None:
    peaks = []
    for count in (200, 4000):
        table = write_table(tmp_path / "a.csv", ["a" * 20_000] * count, ["x"] * count)
        words = ["text", str(table), "--text", "words", "--models", str(models), "--out", str(tmp_path / "o.parquet")]
        done = subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS, "predict", *words], capture_output=True, text=True, check=True
        )
        torch, kilobytes = done.stdout.split()[-2:]
        assert torch == "False"
        peaks.append(int(kilobytes) / 1024)
    assert table.stat().st_size > 70 << 20
    assert peaks[1] - peaks[0] < 35
