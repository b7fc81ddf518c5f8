"""Load generator: wrk, which sends prepared bodies in turn over persistent connections."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.serving.launch import ServerError

SCRIPT = """
local prepared, turn = {}, 0

function init(words)
  local headers = {["Content-Type"] = words[1]}
  for number = 1, tonumber(words[2]) do
    local file = assert(io.open(words[3] .. "/" .. number, "rb"))
    prepared[number] = wrk.format("POST", nil, headers, file:read("*a"))
    file:close()
  end
end

function request()
  turn = turn % #prepared + 1
  return prepared[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests_per_s": %f, "p50_ms": %f, "p99_ms": %f, "max_ms": %f, "connect": %d, "read": %d, "write": %d, ' ..
    '"status": %d, "timeout": %d}', summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3, errors.connect, errors.read, errors.write, errors.status,
    errors.timeout))
end
"""
ERRORS = ("connect", "read", "write", "status", "timeout")
TIMEOUT_S = 30  # of a response


def write_bodies(folder: Path, bodies: Sequence[bytes]) -> None:
    folder.mkdir()
    for number, body in enumerate(bodies, start=1):
        (folder / str(number)).write_bytes(body)
    (folder / "send.lua").write_text(SCRIPT)


def load(url: str, content_type: str, folder: Path, connections: int, seconds: int) -> dict[str, Any]:
    """Send the bodies of `write_bodies`; return requests per second and latencies.

    Raises ServerError if a request failed.
    """
    count = len(list(folder.iterdir())) - 1
    words = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    words += ["--timeout", f"{TIMEOUT_S}s", "--script", str(folder / "send.lua"), url]
    words += ["--", content_type, str(count), str(folder)]
    printed = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = json.loads(printed.splitlines()[-1])
    failed = {name: found.pop(name) for name in ERRORS}
    if any(failed.values()):
        raise ServerError(f"{url}, {connections} connections: failed requests, {failed}")
    return found
