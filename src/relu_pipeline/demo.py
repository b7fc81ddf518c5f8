"""`make demo`: run the pipeline on the built-in data in a copy of the project, and classify an image and a text."""

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any

import numpy as np
import requests

from relu_pipeline.data.digits import digits
from relu_pipeline.errors import PipelineError
from relu_pipeline.provenance import git_commit
from relu_pipeline.recipes import apply_recipe

SCRATCH = Path("demo")  # not hidden: BentoML refuses to read from hidden folders
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 15
TEXT = "The central bank raises interest rates after long talks"
# Unset, because the stages and the service of the copy would use paths or servers outside the copy.
FOREIGN = ("RELU_DATA_MIRROR", "RELU_MODELS_DIR", "MLFLOW_TRACKING_URI", "DVC_ROOT")


def main() -> None:
    try:
        run_demo(Path(), SCRATCH)
    except (PipelineError, requests.RequestException) as error:
        sys.exit(f"error: {error}")


def run_demo(project: Path, scratch: Path) -> None:
    copy_project(project, scratch)
    apply_recipe(scratch / "configs/demo.yaml", scratch / "params.yaml")
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    print(f"demo: `dvc repro` in {scratch}/", flush=True)
    if subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=scratch, env=environment, check=False).returncode:
        raise PipelineError(f"`dvc repro` failed in {scratch}; see its output above")
    with serving(scratch, environment) as url:
        image = _post(f"{url}/classify_image", files={"image": ("digit.png", sample_digit(), "image/png")})
        text = _post(f"{url}/classify_text", json={"text": TEXT})
    print(f"\nA handwritten 7 sent as PNG: {_shown(image)}")
    print(f'"{TEXT}": {_shown(text)}')
    print(WHERE_NEXT.format(scratch=scratch))


WHERE_NEXT = """
Next steps
  {scratch}/reports/image/            metrics, confusion matrix, reliability, mistakes
  cd {scratch} && bentoml serve       the service, on http://127.0.0.1:3000
  cd {scratch} && MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui
                                  the runs, on http://127.0.0.1:5000
  make repro                      here, the same on CIFAR-10 and AG News
(with .venv/bin on the PATH: `. .venv/bin/activate`)"""


def copy_project(project: Path, scratch: Path) -> None:
    """Clone the project, with uncommitted changes and without the outputs of an earlier `dvc repro`.

    Raises PipelineError if `scratch` exists: its user may have trained there.
    """
    git_commit()  # raises a clear error if there is no commit to clone
    if scratch.exists():
        raise PipelineError(f"{scratch}/ is an earlier demo; to start anew, delete it first: `rm -rf {scratch}`")
    subprocess.run(["git", "clone", "--quiet", str(project), str(scratch)], check=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=project,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        (scratch / name).unlink(missing_ok=True)
        if (project / name).is_file():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project / name, scratch / name)
    (scratch / "dvc.lock").unlink(missing_ok=True)


@contextmanager
def serving(project: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run `bentoml serve` in `project` on a free port until the block ends; yield its URL."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
    log = project / "serve.log"
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=project, env=environment, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _await_ready(server, url, log)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()


def _await_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise PipelineError(f"`bentoml serve` exited with status {server.returncode}; see {log}")
        try:
            if requests.get(f"{url}/readyz", timeout=1).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    raise PipelineError(f"`bentoml serve` was not ready within {START_TIMEOUT_S} s; see {log}")


def sample_digit() -> bytes:
    """Return a handwritten 7 as a 32x32 PNG."""
    from PIL import Image

    images, labels = digits()
    buffer = io.BytesIO()
    Image.fromarray(images[int(np.flatnonzero(labels == 7)[0])]).save(buffer, "PNG")
    return buffer.getvalue()


def _post(url: str, **content: Any) -> dict[str, Any]:
    response = requests.post(url, timeout=10, **content)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


def _shown(answer: dict[str, Any]) -> str:
    model = answer["model"]
    return f"{answer['label']} ({answer['probability']:.1%}, {model['name']} {model['version']})"


if __name__ == "__main__":
    main()
