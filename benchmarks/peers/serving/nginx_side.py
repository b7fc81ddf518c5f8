"""The service as deployed: nginx in front of one replica per core, with one worker each. `nginx_side PORT REPLICAS`"""

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
    """Serve until SIGTERM, without limits by address, because all requests come from one address."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds the stack, which stops all processes
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory()))
        ports = free_ports(replicas)
        for number, replica in enumerate(ports):
            start_replica(replica, scratch / str(number), stack)
        stack.enter_context(proxy(ports, port=port, worker_processes=replicas, limit_addresses=False))
        signal.pause()


def start_replica(port: int, home: Path, stack: ExitStack) -> None:
    """Start a replica and wait until it is ready. Each has its own home, because BentoML stores metrics there."""
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
