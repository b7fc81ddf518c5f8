"""Our service as it is deployed: nginx in front of a replica of one worker for each core. `nginx_side PORT REPLICAS`"""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.peers.serving.launch import await_ready, free_ports, stop
from deploy.nginx import proxy


def main(port: int, replicas: int) -> None:
    """Serve until SIGTERM; without limits by address, for all requests come from one."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all of it is stopped
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory()))
        ports = free_ports(replicas)
        for number, replica in enumerate(ports):
            start_replica(replica, scratch / str(number), stack)
        stack.enter_context(proxy(ports, port=port, worker_processes=replicas, limit_addresses=False))
        signal.pause()


def start_replica(port: int, home: Path, stack: ExitStack) -> None:
    """Start one, and wait until it is ready; each has a home of its own, for its workers' metrics."""
    home.mkdir()
    own = {"BENTOML_HOME": str(home), "BENTOML_CONFIG_OPTIONS": "services.relu_pipeline.workers=1"}
    words = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
    log = home / "serve.log"
    with log.open("w") as output:
        child = subprocess.Popen(words, env=os.environ | own, stdout=output, stderr=output)
    stack.callback(stop, child)
    await_ready(child, f"http://127.0.0.1:{port}/readyz", log)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
