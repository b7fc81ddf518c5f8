"""Check that the Dockerfile builds a working service: `python -m deploy.check_image`, after `dvc repro`.

With docker or podman, the image is built and run. Without them, root can run the steps of the Dockerfile on the file
system of this machine (deploy/without_engine.py); what this does not check is printed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from deploy.dockerfile import read_command, read_stages

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = ROOT / "Dockerfile"
START_S = 60
STOP_S = 15
RESTRICTIONS = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")  # noqa: S108


@dataclass(frozen=True)
class Container:
    """Running container. `healthy` runs the image's health check, `stop` sends SIGTERM and returns the exit status."""

    url: str
    healthy: Callable[[], bool]
    stop: Callable[[], int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("context", nargs="?", type=Path, default=Path(), help="folder with serving/ and models/")
    context = parser.parse_args().context.resolve()
    if engine := find_engine():
        with run_in_engine(engine, context) as container:
            check(container)
    elif os.geteuid() == 0:
        sys.exit(run_without_engine(context))
    else:
        sys.exit("error: neither docker nor podman is running; start one, or run this command as root")


def find_engine() -> str | None:
    """Return the first container engine whose daemon is running, or None."""
    for engine in filter(shutil.which, ("docker", "podman")):
        if subprocess.run([engine, "info"], capture_output=True, check=False).returncode == 0:
            return engine
    return None


@contextmanager
def run_in_engine(engine: str, context: Path) -> Iterator[Container]:
    def call(*words: str) -> str:
        done = subprocess.run([engine, *words], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"error: `{engine} {' '.join(words)}` exited with status {done.returncode}")
        return done.stdout.strip()

    def healthy() -> bool:
        return subprocess.run([engine, "exec", name, *health], capture_output=True, check=False).returncode == 0

    def stop() -> int:
        call("stop", "--time", str(STOP_S), name)
        return int(call("inspect", "--format", "{{.State.ExitCode}}", name))

    health = read_command(dict(list(read_stages(DOCKERFILE).values())[-1].steps)["HEALTHCHECK"])
    tag = "relu-pipeline:check"
    print(call("build", "--file", str(DOCKERFILE), "--tag", tag, str(context)))
    name = call("run", "--detach", *RESTRICTIONS, "--publish", "127.0.0.1::3000", tag)
    try:
        yield Container(f"http://{call('port', name, '3000/tcp')}", healthy, stop)
    except SystemExit:
        print(call("logs", name))
        raise
    finally:
        call("rm", "--force", name)


def run_without_engine(context: Path) -> int:
    """Run in a separate mount namespace, so that all mounts in `scratch` end before it is removed."""
    with tempfile.TemporaryDirectory() as scratch:
        words = ["unshare", "--mount", sys.executable, "-m", "deploy.without_engine", str(context), scratch]
        return subprocess.run(words, cwd=ROOT, check=False).returncode


def check(container: Container) -> None:
    """Wait until the container is healthy, send an image and a text of its tasks, and stop it.

    Exits with a message on failure.
    """
    began = time.monotonic()
    while not container.healthy():
        if time.monotonic() - began > START_S:
            sys.exit(f"error: not healthy within {START_S} s")
        time.sleep(0.5)
    print(f"healthy after {time.monotonic() - began:.1f} s")
    samples = json.loads(ask(container.url, "/samples"))
    if "image" in samples:
        image = b64decode(samples["image"][0]["image"])
        show("an image", ask(container.url, "/classify_image", image, "image/png"))
    if "text" in samples:
        text = json.dumps({"text": samples["text"][0]["text"]}).encode()
        show("a text", ask(container.url, "/classify_text", text, "application/json"))
    began = time.monotonic()
    status = container.stop()
    print(f"exited {time.monotonic() - began:.1f} s after SIGTERM with status {status}")
    if status:
        sys.exit(f"error: exit status {status} after SIGTERM, expected 0")


def ask(url: str, path: str, body: bytes | None = None, media_type: str = "") -> bytes:
    try:
        with urlopen(Request(url + path, body, {"Content-Type": media_type}), timeout=10) as response:  # noqa: S310
            return response.read()
    except URLError as error:
        sys.exit(f"error: {path}: {error}")


def show(what: str, answer: bytes) -> None:
    found: dict[str, Any] = json.loads(answer)
    print(
        f"{what}: {found['label']} ({found['probability']:.1%}, {found['model']['name']} {found['model']['version']})"
    )


if __name__ == "__main__":
    main()
