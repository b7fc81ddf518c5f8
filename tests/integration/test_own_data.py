"""docs/own-data.md as a user follows it: its commands, in their order, on folders and tables of the names it uses."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Manifest, Metrics
from relu_pipeline.data.demo import PHRASES
from relu_pipeline.data.digits import digits
from relu_pipeline.demo import FOREIGN, copy_project, serving
from tests.documents import blocks
from tests.params import set_param

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN}
ENVIRONMENT["PATH"] = f"{Path(sys.executable).parent}:{ENVIRONMENT['PATH']}"
STARS = ("1", "2", "3", "10")
pytestmark = pytest.mark.slow


def write_photos(folder: Path) -> None:
    """Digits as people might have them: classes by folder, sizes and formats as they come."""
    images, labels = digits()
    rng = np.random.default_rng(0)
    for number in np.flatnonzero(labels < 4)[:160]:
        name = f"{('zero', 'one', 'two', 'three')[labels[number]]}/{number}.{('png', 'jpg', 'webp')[number % 3]}"
        tint = images[number] * np.array([1.0, 0.9, 0.6])
        width, height = rng.integers(40, 90, size=2)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tint.astype(np.uint8)).resize((int(width), int(height))).save(folder / name)
    (folder / "notes.txt").write_text("taken in spring")
    (folder / "zero/broken.jpg").write_bytes(b"")


def write_reviews(path: Path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        rows = csv.writer(file, delimiter=";")
        rows.writerow(["id", "title", "body", "stars"])
        for number in range(count):
            label = int(rng.integers(len(PHRASES)))
            who, does, what = (part[rng.integers(len(part))] for part in PHRASES[label])
            rows.writerow([number, f"{who} {does}", f'They say: "{does} {what}"\nNumber {number}', STARS[label]])


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def stages_run(folder: Path) -> list[str]:
    result = run("dvc repro", folder)
    assert result.returncode == 0, result.stderr
    return re.findall(r"Running stage '([^']+)'", result.stdout)


def commands() -> list[str]:
    found = (line for block in blocks("docs/own-data.md", "sh") for line in block.commands())
    return [line.split("  #")[0].strip() for line in found]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this project in which all commands of the page have run."""
    folder = tmp_path_factory.mktemp("own") / "project"
    copy_project(ROOT, folder)
    write_photos(folder / "photos")
    write_reviews(folder / "reviews.csv", 400, seed=0)
    write_reviews(folder / "held_back.csv", 80, seed=1)
    for command in commands():
        result = run(command, folder)
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return folder


def test_the_networks_learn_and_the_reports_are_there(project: Path) -> None:
    for task in ("image", "text"):
        metrics = artifacts.read(project / "reports" / task / "metrics.json", Metrics)
        assert metrics.accuracy > 0.9
        assert (project / "reports" / task / "confusion_matrix.png").stat().st_size > 1000
    assert artifacts.read(project / "models/text/manifest.json", Manifest).labels == list(STARS)


def test_predictions_have_the_users_own_names(project: Path) -> None:
    with (project / "images.csv").open() as file:
        images = {row["file"]: row for row in csv.DictReader(file)}
    assert images["zero/broken.jpg"]["error"]
    known = [row for row in images.values() if not row["error"]]
    assert np.mean([row["label"] == row["actual"] for row in known]) > 0.9
    with (project / "texts.csv").open() as file:
        assert {row["label"] for row in csv.DictReader(file)} <= set(STARS)


def test_the_service_answers_with_the_users_classes(project: Path) -> None:
    photo = next((project / "photos/one").glob("*.png"))
    with serving(project, ENVIRONMENT) as url:
        files = {"image": (photo.name, photo.read_bytes(), "image/png")}
        image = requests.post(f"{url}/classify_image", files=files, timeout=10).json()
        text = requests.post(f"{url}/classify_text", json={"text": "The striker wins the cup final"}, timeout=10).json()
    assert image["label"] == "one"
    assert text["label"] == STARS[1]


def test_an_experiment_in_a_copy_has_the_data_that_dvc_tracks(project: Path) -> None:
    result = run("dvc exp run --temp -S image.data.test_fraction=0.25 download@image", project)
    assert result.returncode == 0, result.stderr
    assert "Running stage 'download@image'" in result.stdout


def test_a_change_reruns_what_depends_on_it_and_nothing_else(project: Path) -> None:
    for task in ("image", "text"):  # 60 and 40 epochs, by default
        set_param(project / "params.yaml", f"{task}.train.max_epochs", 5)
    assert {"train@image", "train@text"} <= set(stages_run(project))
    assert stages_run(project) == []
    photo = next((project / "photos/two").glob("*.png"))
    shutil.copyfile(photo, photo.with_name("added.png"))
    assert {stage.partition("@")[2] for stage in stages_run(project)} == {"image", ""}
    with (project / "held_back.csv").open("a") as file:
        file.write("999;The striker;The striker wins the relay race;2\n")
    assert {stage.partition("@")[2] for stage in stages_run(project)} == {"text", ""}


def expect(project: Path, task: str, at_least: float, *words: Any) -> None:
    result = run(" ".join(["relu-pipeline", "use", task, *map(str, words)]) + " && dvc repro", project)
    assert result.returncode == 0, result.stderr
    assert artifacts.read(project / "reports" / task / "metrics.json", Metrics).accuracy >= at_least


@pytest.fixture
def others_data(mirror: Path) -> Path:
    if not (mirror / "own").is_dir():
        pytest.skip(f"{mirror / 'own'} is not there")
    return mirror / "own"


@pytest.mark.real_data
def test_customer_questions_of_77_classes(others_data: Path, tmp_path: Path) -> None:
    data = others_data / "banking77"
    copy_project(ROOT, tmp_path / "project")
    expect(
        tmp_path / "project",
        "text",
        0.91,
        data / "train.csv",
        "--test",
        data / "test.csv",
        "--label category",
    )


@pytest.mark.real_data
def test_photographs_of_hands(others_data: Path, tmp_path: Path) -> None:
    copy_project(ROOT, tmp_path / "project")
    expect(tmp_path / "project", "image", 0.98, others_data / "signs.tar.gz")
