"""`relu-pipeline use`: own data take the place of the published ones in params.yaml, or nothing changes."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relu_pipeline.config import load_params
from tests.unit.data.test_image_folder import fill

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    (folder / "reviews.csv").write_text("id,title,body,stars\n" + "".join(f"{n},t{n},b,{n % 2}\n" for n in range(8)))
    fill(folder / "photos", *(f"{label}/{number}.png" for label in "ab" for number in range(4)))
    return folder


def use(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "relu_pipeline.cli", "use", *words]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_own_data_replace_the_published_and_both_tasks_may_be_own(project: Path) -> None:
    done = use(project, "text", "reviews.csv", "--text", "title", "--text", "body", "--label", "stars")
    assert done.stdout == "reviews.csv: 6 train, 2 test examples of 2 classes (0, 1); next: `dvc repro`\n"
    params = load_params(project / "params.yaml")
    assert params.tasks == {"text": "reviews.csv"}
    assert (params.text.data.text, params.text.data.label) == (["title", "body"], "stars")
    assert use(project, "image", str(project / "photos")).returncode == 0
    assert load_params(project / "params.yaml").tasks == {"text": "reviews.csv", "image": "photos"}


def test_what_is_left_out_is_told(project: Path) -> None:
    (project / "photos/a/broken.jpg").write_bytes(b"no image")
    done = use(project, "image", "photos")
    assert "2 classes (a, b); left out: 1, the first: a/broken.jpg " in done.stdout
    assert done.stdout.endswith("; next: `dvc repro`\n")


def test_only_the_lines_of_the_named_data_change(project: Path) -> None:
    before = (project / "params.yaml").read_text()
    (image, text) = (line for line in before.splitlines(keepends=True) if "configs/data/" in line and line[0] == " ")
    comment = image.index("#")
    photos = "  image: photos".ljust(comment) + image[comment:]
    assert use(project, "image", "photos").returncode == 0
    assert (project / "params.yaml").read_text() == before.replace(image + text, photos)
    assert use(project, "text", "reviews.csv", "--text", "title", "--text", "body", "--label", "stars").returncode == 0
    expected = before.replace(image + text, f"{photos}  text: reviews.csv\n")
    expected = expected.replace("    - text\n    label: label", "    - title\n    - body\n    label: stars")
    assert (project / "params.yaml").read_text() == expected


def test_tables_of_other_places_are_linked(project: Path) -> None:
    shutil.copyfile(project / "reviews.csv", project.parent / "held back.csv")
    words = ("--text", "body", "--label", "stars", "--test", "../held back.csv", "--val", "reviews.csv")
    done = use(project, "text", "reviews.csv", *words)
    assert "8 train, 8 val, 8 test examples" in done.stdout
    assert load_params(project / "params.yaml").tasks == {"text": "data/own/text"}
    assert (project / "data/own/text/test.csv").resolve() == (project.parent / "held back.csv").resolve()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("text", "reviews.csv"), "reviews.csv: has no column text, label; its columns are id, title, body, stars"),
        (("text", "missing.csv"), "missing.csv: no such file or folder"),
        (("text", "reviews.csv", "--test", "missing.csv"), "missing.csv: no such file"),
        (("image", "reviews.csv"), "reviews.csv: neither a folder nor an archive"),
        (
            ("image", "photos/a"),
            "photos/a: has no class, but at least two are needed; left out: 4, the first: 0.png is not in",
        ),
    ],
)
def test_a_failure_is_one_line_and_changes_nothing(project: Path, words: tuple[str, ...], message: str) -> None:
    before = (project / "params.yaml").read_text()
    failed = use(project, *words)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"error: {message}")
    assert failed.stderr.count("\n") == 1
    assert (project / "params.yaml").read_text() == before


def test_a_failure_keeps_the_links_to_earlier_tables(project: Path) -> None:
    columns = ("--text", "title", "--label", "stars")
    assert use(project, "text", "reviews.csv", *columns, "--val", "reviews.csv").returncode == 0
    (project / "broken.csv").write_text('title,stars\n"never closed,1\n')
    before = (project / "params.yaml").read_text()
    failed = use(project, "text", "broken.csv", *columns, "--test", "reviews.csv")
    assert failed.stderr.startswith("error: broken.csv, line 2: ")
    assert (project / "params.yaml").read_text() == before
    links = {path.name: path.resolve().name for path in (project / "data/own/text").iterdir()}
    assert links == {"train.csv": "reviews.csv", "val.csv": "reviews.csv"}
    assert [path.name for path in (project / "data/own").iterdir()] == ["text"]


def test_an_interrupt_leaves_params_and_links_as_they_were(project: Path) -> None:
    columns = ("--text", "title", "--label", "stars")
    assert use(project, "text", "reviews.csv", *columns, "--val", "reviews.csv").returncode == 0
    before = (project / "params.yaml").read_text()
    (project / "large.csv").write_text("title,stars\n" + "".join(f"title {n},{n % 2}\n" for n in range(1_000_000)))
    link = project / "data/own/text/train.csv"
    with subprocess.Popen(
        [sys.executable, "-m", "relu_pipeline.cli", "use", "text", "large.csv", *columns, "--test", "reviews.csv"],
        cwd=project,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        end = time.monotonic() + 60
        while not link.exists() or link.resolve().name != "large.csv":
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert (project / "params.yaml").read_text() == before
    assert link.resolve().name == "reviews.csv"
    assert [path.name for path in (project / "data/own").iterdir()] == ["text"]
