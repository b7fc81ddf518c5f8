"""docs/terminal.svg: commands and what they print in a finished project, one after the other.

The commands run in a pseudo-terminal of `WIDTH` columns. Rich draws what they print; the file needs no font and no
other file from anywhere. Viewers that do not animate SVG show all commands at once.
"""

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from benchmarks.reliability.bench import serve
from docs.pictures import common
from relu_pipeline.demo import FOREIGN, TEXT

WIDTH, HEIGHT = 120, 40  # columns and lines; `dvc metrics show` prints 118 columns
IMAGE = "picture.png"
COMMANDS = (
    "dvc repro | tail -n 3",
    "dvc metrics show",
    "relu-pipeline status",
    f"relu-pipeline ask image {IMAGE} --url $SERVICE",
    f'relu-pipeline ask text "{TEXT}" --url $SERVICE',
)
NAME = "terminal"  # of the classes and ids in the SVG
FONT_ASPECT = 0.6  # width to height, of most monospaced fonts
START_S, OUTPUT_S, NEXT_S = 0.5, 0.8, 2.2  # from the start to the first command, its output, the next command
SVG = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", \
"Liberation Mono", monospace; }}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif; }}
{styles}
@media (prefers-reduced-motion: no-preference) {{
@keyframes appear {{ from {{ visibility: hidden; }} }}
.{unique_id}-matrix text {{ animation: appear 1ms backwards; }}
DELAYS
}}
</style>
<defs>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def draw(project: Path) -> Path:
    with serve(project / "models", project) as bench, example_file(project / IMAGE):
        own = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = own | {"PATH": programs, "TERM": "xterm-256color", "SERVICE": bench.server.url}
        printed = {command: record(command, project, environment) for command in COMMANDS}
    return common.write(common.DOCS / "terminal.svg", render(printed).encode())


@contextmanager
def example_file(path: Path) -> Iterator[None]:
    """Keep an example image at `path` while the block runs. Raises PictureError if there is a file already."""
    try:
        with path.open("xb") as file:
            file.write(common.example_image(path.parent))
    except FileExistsError as error:
        raise common.PictureError(f"{path}: exists; rename it, for an example image takes its place") from error
    try:
        yield
    finally:
        path.unlink()


def record(command: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Run a command of Bash in a pseudo-terminal and return what it prints. Raises PictureError if it fails."""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (HEIGHT, WIDTH))
    shell = ["bash", "-o", "pipefail", "-c", command]
    process = subprocess.Popen(
        shell, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    printed = bytearray()
    with suppress(OSError):  # Linux' end of the file, once the command has closed its side
        while chunk := os.read(controller, 1 << 16):
            printed += chunk
    os.close(controller)
    output = printed.decode().replace("\r\n", "\n").rstrip()
    if status := process.wait():
        raise common.PictureError(f"`{command}` ended with status {status}: {output}")
    return output


def render(printed: Mapping[str, str]) -> str:
    """Return an SVG of the commands, each with what it printed, that appear one after the other."""
    console = Console(record=True, file=StringIO(), width=WIDTH, color_system="truecolor", force_terminal=True)
    delays, line, at_s = [], 0, START_S
    for command, output in printed.items():
        lines = Text.from_ansi(output).split()
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")), no_wrap=True, overflow="crop")
        console.print(*lines, "", sep="\n", no_wrap=True, overflow="crop", highlight=False)
        delays.append(delay([line], at_s))
        delays.append(delay(range(line + 1, line + 1 + len(lines)), at_s + OUTPUT_S))
        line += len(lines) + 2
        at_s += NEXT_S
    template = SVG.replace("DELAYS", "\n".join(delays))
    return console.export_svg(
        title="relu-pipeline", code_format=template, font_aspect_ratio=FONT_ASPECT, unique_id=NAME
    )


def delay(lines: Sequence[int], seconds: float) -> str:
    """Return a rule of CSS, as a template, by which these lines appear after `seconds`."""
    chosen = ", ".join(f'text[clip-path="url(#{NAME}-line-{line})"]' for line in lines)
    return f"{chosen} {{{{ animation-delay: {seconds:.1f}s; }}}}"


if __name__ == "__main__":
    common.run(draw)
