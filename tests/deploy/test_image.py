"""The Dockerfile: what it lets in, what its lock brings, and whether it gives a working service."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import yaml

from deploy.check_image import find_engine
from deploy.dockerfile import context_files, read_command, read_stages, read_variables
from relu_pipeline.demo import sample_digit
from tests import servers

DOCKERFILE = servers.ROOT / "Dockerfile"
TRAINING = ("torch", "lightning", "mlflow", "dvc", "onnx", "sklearn", "matplotlib", "relu_pipeline")


def test_the_build_sees_what_a_bento_includes_and_the_lock_of_cuda(context: Path) -> None:
    include = yaml.safe_load((context / "bentofile.yaml").read_text())["include"]
    bento = {path.relative_to(context) for pattern in include for path in context.glob(pattern)}
    assert set(context_files(context)) == bento | {Path("deploy/cuda.txt")}


def test_another_variant_ends_the_build() -> None:
    (choice,) = [rest for _, rest in read_stages(DOCKERFILE)["venv"].steps if rest.startswith("case")]
    done = subprocess.run(["sh", "-c", choice], env={"VARIANT": "tpu"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: VARIANT is tpu; it must be cpu or cuda\n")


def test_the_image_has_one_worker() -> None:
    steps = dict(list(read_stages(DOCKERFILE).values())[-1].steps)
    variables = read_variables(" ".join(steps["ENV"].split()), {"PATH": ""})
    assert variables["BENTOML_CONFIG_OPTIONS"] == "services.relu_pipeline.workers=1"


def test_the_service_is_process_1_of_a_numeric_user() -> None:
    steps = dict(list(read_stages(DOCKERFILE).values())[-1].steps)
    assert read_command(steps["CMD"])[0] == "bentoml"
    user, group = steps["USER"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert "BENTOML_CONTAINERIZED" not in steps["ENV"]


def test_cuda_libraries_leave_the_versions_of_the_lock_alone() -> None:
    def versions(path: str) -> set[str]:
        lines = (servers.ROOT / path).read_text().splitlines()
        return {line.split()[0] for line in lines if "==" in line and not line.startswith((" ", "#"))}

    served = versions("requirements/serve.txt")
    names = {version.split("==")[0] for version in served}
    assert {one for one in versions("deploy/cuda.txt") if one.split("==")[0] in names} <= served


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the lock of the service brings, and nothing else."""
    folder = tmp_path_factory.mktemp("serve") / "venv"
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, folder], check=True)
    lock = servers.ROOT / "requirements/serve.txt"
    options = ["--quiet", "--compile-bytecode", "--require-hashes", "--requirement", lock]
    subprocess.run(["uv", "pip", "install", "--python", folder, *options], check=True)
    return folder


@pytest.mark.slow
def test_the_lock_of_the_service_brings_no_training_stack(venv: Path) -> None:
    code = f"from importlib.util import find_spec; print([name for name in {TRAINING} if find_spec(name)])"
    found = subprocess.run([venv / "bin/python", "-I", "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_lock_of_the_service_serves(venv: Path, context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(venv / "bin/python"))  # which tests.servers starts
    with servers.start(context / "models", project=context) as server:
        assert Path(server.process.args[0]) == venv / "bin/python"  # type: ignore[arg-type,index]
        image = requests.post(f"{server.url}/classify_image", files={"image": sample_digit()}, timeout=10)
        text = requests.post(f"{server.url}/classify_text", json={"text": "The striker wins the cup"}, timeout=10)
    assert image.json()["model"]["name"] == "relu-pipeline-image"
    assert text.json()["model"]["name"] == "relu-pipeline-text"


def mounts_allowed() -> bool:
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not find_engine() and not mounts_allowed(), reason="neither an engine nor root that may mount")
def test_the_image_serves(context: Path) -> None:
    words = [sys.executable, "-m", "deploy.check_image", str(context)]
    done = subprocess.run(words, cwd=servers.ROOT, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "relu-pipeline-image" in done.stdout
    assert "relu-pipeline-text" in done.stdout
    assert "with status 0" in done.stdout
