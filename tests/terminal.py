"""A pseudo-terminal for commands."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

ROWS, COLUMNS = 40, 100


def run_on_a_terminal(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Return all that the command writes to a terminal, which is its standard output and standard error."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=end, stderr=end):
        os.close(end)
        written = b""
        try:
            while part := os.read(terminal, 1 << 16):
                written += part
        except OSError:  # the command has ended
            pass
    os.close(terminal)
    return written.decode()
