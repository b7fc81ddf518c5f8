"""Run the steps of the Dockerfile, and its command, without a container engine; for deploy/check_image.py, as root.

An overlay on the file system of this machine replaces the base images; a stage that is based on another continues in
its tree. The command runs as in a container: as process 1, the numeric user of the image, without capabilities, on a
read-only file system with an empty /tmp, and without a network except its own loopback.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.check_image import DOCKERFILE, STOP_S, Container, check
from deploy.dockerfile import Stage, context_files, read_command, read_stages, read_variables

BASE_PATH = "/usr/local/bin:/usr/bin:/bin"
BORROWED = ("/dev/null", "/dev/random", "/dev/urandom", "/dev/zero", "/etc/resolv.conf")
UNPRIVILEGED = ("--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
NEW_NETWORK, SET_INTERFACE_FLAGS, INTERFACE_UP = 0x40000000, 0x8914, 1

NOT_CHECKED = """\
Not checked without a container engine: the base images {bases}
(replaced by the file system and the uv of this machine), registries, limits of memory and cores."""


@dataclass(frozen=True)
class Image:
    root: Path
    environment: dict[str, str]
    folder: str = "/"
    user: str = "0:0"
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()


class Builder:
    """Builder of stages below `scratch`; like BuildKit, it builds each needed stage once."""

    def __init__(self, context: Path, scratch: Path) -> None:
        self.context, self.scratch = context, scratch
        self.files = context_files(context)
        self.stages = read_stages(DOCKERFILE)
        self.built: dict[str, Image] = {}

    def build(self, name: str) -> Image:
        if name not in self.built:
            image = self._begin(name, self.stages[name])
            for word, rest in self.stages[name].steps:
                print(f"  {word} {' '.join(rest.split())}"[:120], flush=True)
                image = self._step(image, word, rest)
            self.built[name] = image
        return self.built[name]

    def _begin(self, name: str, stage: Stage) -> Image:
        if stage.base in self.stages:
            return self.build(stage.base)
        upper, work, root = (self.scratch / name / part for part in ("upper", "work", "root"))
        for folder in (upper, work, root):
            folder.mkdir(parents=True)
        _run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", str(root))
        for path in BORROWED:
            _mount_point(root / path[1:])
            _run("mount", "--bind", path, str(root / path[1:]))
        return Image(root, {"PATH": BASE_PATH})

    def _step(self, image: Image, word: str, rest: str) -> Image:
        match word:
            case "RUN":
                index = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))}
                _run(*_inside(replace(image, environment=image.environment | index)), "sh", "-c", rest)
            case "COPY":
                self._copy(image, rest.split())
            case "WORKDIR":
                (image.root / rest[1:]).mkdir(parents=True, exist_ok=True)
        return _described(image, word, rest)

    def _copy(self, image: Image, words: list[str]) -> None:
        *options, source, name = words
        target = image.root / str(Path(image.folder, name))[1:]
        stage = options[0].removeprefix("--from=") if options else None
        if stage is None:
            self._copy_context(Path(source), target)
        elif stage in self.stages:
            _run("cp", "--archive", f"{self.build(stage).root}{source}", str(target))
        else:  # an image with a single command
            shutil.copy2(shutil.which(Path(source).name) or sys.exit(f"error: no {source} on the PATH"), target)

    def _copy_context(self, source: Path, target: Path) -> None:
        files = [file for file in self.files if file.is_relative_to(source)]
        if not files:
            sys.exit(f"error: {self.context / source}: missing, or excluded by .dockerignore; run `dvc repro`")
        for file in files:
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.context / file, place)


def _described(image: Image, word: str, rest: str) -> Image:
    """Return the image with the settings of an instruction."""
    match word:
        case "ENV" | "ARG":
            return replace(image, environment=image.environment | read_variables(rest, image.environment))
        case "WORKDIR":
            return replace(image, folder=rest)
        case "USER":
            return replace(image, user=rest)
        case "HEALTHCHECK":
            return replace(image, health=tuple(read_command(rest)))
        case "CMD":
            return replace(image, command=tuple(read_command(rest)))
        case "RUN" | "COPY" | "EXPOSE":
            return image
    sys.exit(f"error: {DOCKERFILE}: {word} cannot be run without a container engine")


def _inside(image: Image) -> list[str]:
    """Return the prefix of a command line that runs a command in `image`."""
    variables = [f"{name}={value}" for name, value in image.environment.items()]
    user, group = image.user.split(":")
    restricted = ["setpriv", f"--reuid={user}", f"--regid={group}", *UNPRIVILEGED] if user != "0" else []
    return ["chroot", str(image.root), "env", "-i", f"--chdir={image.folder}", *variables, *restricted]


@contextmanager
def _started(image: Image) -> Iterator[Container]:
    _run("mount", "-o", "remount,ro", str(image.root))
    for folder in ("tmp", "dev/shm"):
        _run("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(image.root / folder))
    _leave_network()
    words = ["unshare", "--pid", "--fork", f"--mount-proc={image.root}/proc", *_inside(image)]
    process = subprocess.Popen([*words, *image.command])

    def healthy() -> bool:
        if process.poll() is not None:
            sys.exit(f"error: the command exited with status {process.returncode}; see its output above")
        return subprocess.run([*_inside(image), *image.health], capture_output=True, check=False).returncode == 0

    def stop() -> int:
        _signal_first(process, signal.SIGTERM)
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            sys.exit(f"error: still running {STOP_S} s after SIGTERM")

    try:
        yield Container("http://127.0.0.1:3000", healthy, stop)
    finally:
        if process.poll() is None:
            _signal_first(process, signal.SIGKILL)
            process.wait()


def _signal_first(unshare: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to process 1 of the namespace; all its processes end with it."""
    children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text()
    for child in map(int, children.split()):
        os.kill(child, number)


def _leave_network() -> None:
    """Enter a new network namespace that has only a loopback interface."""
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SET_INTERFACE_FLAGS, struct.pack("16sh14x", b"lo", INTERFACE_UP))


def _mount_point(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _run(*words: str) -> None:
    if status := subprocess.run(words, check=False).returncode:
        sys.exit(f"error: `{' '.join(words)}` exited with status {status}")


def main() -> None:
    context, scratch = map(Path, sys.argv[1:])
    builder = Builder(context, scratch)
    image = builder.build(list(builder.stages)[-1])
    with _started(image) as container:
        check(container)
    bases = {stage.base for stage in builder.stages.values()} - set(builder.stages)
    print(NOT_CHECKED.format(bases=", ".join(sorted(bases))))


if __name__ == "__main__":
    main()
