"""The wheel, installed into a fresh virtual environment and used outside of the project."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from relu_pipeline.demo import sample_digit

ROOT = Path(__file__).resolve().parents[2]
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
# `dependencies` of pyproject.toml, and what these need.
BASE = ("annotated_types", "numpy", "numpy.libs", "pydantic", "pydantic_core", "ruamel", "typing_extensions.py")
BASE += ("typing_inspection",)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.iterdir()
    return path


def install(wheel: Path, folder: Path, packages: Path) -> Path:
    """Install the wheel alone into a new environment that sees `packages`; return the command."""
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    words = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *words], check=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    (site / "packages.pth").write_text(f"{packages}\n")
    return folder / "bin/relu-pipeline"


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("venv"), SITE_PACKAGES)


def run(command: Path, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "PYTHONPATH")}
    return subprocess.run([command, *words], cwd=folder, env=outside, capture_output=True, text=True, check=False)


def test_the_wheel_holds_the_library_and_the_decoder_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith("dist-info/METADATA")]
        described = archive.read(metadata).decode()
    top = {name.split("/")[0] for name in names}
    assert top == {"relu_pipeline", "relu_inputs", metadata.split("/")[0]}
    assert "relu_pipeline/card/card.css" in names
    assert "License-Expression: Apache-2.0" in described
    assert "Classifier: Typing :: Typed" in described


def test_the_command_runs_the_installed_library(command: Path, tmp_path: Path) -> None:
    code = "import relu_inputs, relu_pipeline; print(relu_pipeline.__file__, relu_inputs.__file__)"
    located = run(command.with_name("python"), "-c", code, folder=tmp_path).stdout.split()
    assert all(Path(path).is_relative_to(command.parents[1]) for path in located)
    listed = run(command, "--help", folder=tmp_path)
    assert listed.returncode == 0
    assert {"use", "describe", "predict", "ask", "promote"} <= set(listed.stdout.split())


def test_networks_are_described_outside_of_the_project(command: Path, tmp_path: Path) -> None:
    described = run(command, "describe", "cnn_28", folder=tmp_path)
    assert described.returncode == 0, described.stderr
    assert "random input of shape [1, 28, 28, 1]: " in described.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ask", "text", "hello", "--url", "http://127.0.0.1:9"), r"http://127.0.0.1:9/classify_texts: no connection"),
        (("predict", "image", ".", "--out", "a.csv"), "models/image/manifest.json: no such file"),
        (("use", "image", "photos"), "params.yaml: no such file; this folder is not a relu-pipeline project: run"),
        (("recipe", "quick"), "configs/recipes/quick.yaml: no such recipe; this folder is not a relu-pipeline project"),
        (("promote", "image"), "params.yaml: no such file; this folder is not a relu-pipeline project: run"),
        (("status",), "{folder} is not a relu-pipeline project and has no registry; run"),
        (("send-metrics",), "params.yaml: no such file; this folder is not a relu-pipeline project: run"),
        (("rollback", "image"), "{folder} is not a relu-pipeline project and has no registry; run"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_is_missing_outside_of_a_project_is_one_line(
    command: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "photos").mkdir()
    failed = run(command, *words, folder=tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"error: {message.format(folder=tmp_path)}")
    assert failed.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.slow
def test_exported_models_predict_outside_of_the_project(command: Path, models: Path, tmp_path: Path) -> None:
    (tmp_path / "digit.png").write_bytes(sample_digit())
    words = ("predict", "image", "digit.png", "--models", str(models), "--out", "predictions.csv")
    predicted = run(command, *words, folder=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    header, row = (tmp_path / "predictions.csv").read_text().splitlines()
    assert header.startswith("file,label,probability")
    assert row.startswith("digit.png,")


def test_without_the_extras_the_missing_package_is_one_line(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    for name in BASE:
        (tmp_path / "packages" / name).symlink_to(SITE_PACKAGES / name)
    bare = install(wheel, tmp_path / "bare", tmp_path / "packages")
    assert run(bare, "--help", folder=tmp_path).returncode == 0
    failed = run(bare, "describe", "cnn_28", folder=tmp_path)
    assert failed.returncode == 1
    assert failed.stderr == (
        "error: lightning is not installed; it is in the extra `train`: install relu-pipeline[train]\n"
    )
