"""docs/dashboard.png: the panels of deploy/grafana/dashboard.json while a service is under load.

The script starts the service and Prometheus, sends the load of `load.py`, evaluates the queries of the dashboard, and
draws each panel at its place in the dashboard's grid with Matplotlib, not with Grafana. It needs `prometheus` on the
PATH and takes about two minutes.
"""

import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
import yaml

from benchmarks.reliability.bench import serve
from docs.pictures import common
from docs.pictures.load import send_load
from docs.pictures.panels import Series, draw_panels
from tests.servers import free_port

DASHBOARD = common.DOCS.parent / "deploy/grafana/dashboard.json"
SCRAPE_S = 1
STEP_S = 1  # between two points of a line
# As Grafana computes it from these two; see its documentation of $__rate_interval.
RATE_INTERVAL = f"{max(STEP_S + SCRAPE_S, 4 * SCRAPE_S)}s"
START_TIMEOUT_S = 30


def draw(project: Path) -> Path:
    dashboard = json.loads(DASHBOARD.read_text())
    with serve(project / "models", project) as bench, prometheus(bench.port) as url:
        start_s = asyncio.run(send_load(bench, project))
        end_s = time.time()
        series = {panel["id"]: read_panel(url, panel, start_s, end_s) for panel in dashboard["panels"]}
    return common.save_png(draw_panels(dashboard, series, end_s - start_s), common.DOCS / "dashboard.png")


@contextmanager
def prometheus(port: int) -> Iterator[str]:
    """Run Prometheus, which scrapes the service at `port` every second, while the block runs; yield its URL."""
    program = common.find_program("prometheus")
    address = f"127.0.0.1:{free_port()}"
    job = {"job_name": "relu-pipeline", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    with tempfile.TemporaryDirectory() as scratch:
        config, log = Path(scratch) / "prometheus.yml", Path(scratch) / "prometheus.log"
        config.write_text(yaml.safe_dump({"global": {"scrape_interval": f"{SCRAPE_S}s"}, "scrape_configs": [job]}))
        storage = Path(scratch) / "storage"
        options = [f"--config.file={config}", f"--storage.tsdb.path={storage}", f"--web.listen-address={address}"]
        with log.open("wb") as output:
            process = subprocess.Popen([program, *options], stdout=output, stderr=subprocess.STDOUT)
        try:
            await_scrape(process, f"http://{address}", log)
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait()


def await_scrape(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until Prometheus has scraped the service once, some 5 s after its start."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        with suppress(requests.RequestException):
            if query(url, "up == 1", {"time": time.time()}):
                return
        time.sleep(0.1)
    raise common.PictureError(f"Prometheus did not scrape the service; it wrote:\n{log.read_text()}")


def read_panel(url: str, panel: dict[str, Any], start_s: float, end_s: float) -> list[Series]:
    """Return what the queries of a panel give between two Unix times; a table's, at the end."""
    span, end = {"start": start_s, "end": end_s, "step": STEP_S}, {"time": end_s}
    return [
        Series(target["legendFormat"], result["metric"], relative(result.get("values", []), start_s))
        for target in panel["targets"]
        for result in query(url, expression(target), end if target.get("instant") else span)
    ]


def relative(points: Iterable[tuple[float, str]], start_s: float) -> list[tuple[float, float]]:
    """Return Prometheus' points with times since `start_s`."""
    return [(at_s - start_s, float(value)) for at_s, value in points]


def expression(target: dict[str, Any]) -> str:
    """Return the PromQL of a target, with a value in place of Grafana's variable."""
    return str(target["expr"]).replace("$__rate_interval", RATE_INTERVAL)


def query(url: str, promql: str, when: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the `result` of Prometheus' HTTP API: series over a span with a `step`, or values at one `time`.

    Raises PictureError if Prometheus rejects the query.
    """
    path = "query_range" if "step" in when else "query"
    answer = requests.get(f"{url}/api/v1/{path}", params={"query": promql} | when, timeout=30).json()
    if answer["status"] != "success":
        raise common.PictureError(f"Prometheus rejects {promql}: {answer['error']}")
    return list(answer["data"]["result"])


if __name__ == "__main__":
    common.run(draw)
