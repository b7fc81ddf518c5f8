"""The scripts that make the pictures of docs/, on small inputs, and the pictures that are there."""

import io
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import promql_parser
import pytest
from PIL import Image

from docs.pictures import common, dashboard, terminal
from docs.pictures.panels import Series, draw_panels

DASHBOARD = json.loads(dashboard.DASHBOARD.read_text())
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
LABELS = ("status", "reason", "task", "endpoint", "layer", "result", "name", "version", "precision", "sha256")
URL = re.compile(r"https?://[^\s\"'<]+")
SVG_NAMESPACE = "http://www.w3.org/2000/svg"


def made_up(panel: dict[str, Any]) -> list[Series]:
    labels = dict.fromkeys(LABELS, "a")
    return [Series(target["legendFormat"], labels, [(0.0, 1.0), (1.0, 2.0)]) for target in panel["targets"]]


def texts_of(svg: str) -> list[tuple[str, str | None]]:
    """Each text that can be seen, and what clips it: its line."""
    elements = ElementTree.fromstring(svg).iter(f"{{{SVG_NAMESPACE}}}text")
    texts = ((str(element.text).replace("\N{NO-BREAK SPACE}", " "), element.get("clip-path")) for element in elements)
    return [(text, line) for text, line in texts if text.strip()]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target["expr"][:40])
def test_no_variable_of_grafana_is_left_in_a_query(target: dict[str, Any]) -> None:
    query = dashboard.expression(target)
    assert "$" not in query
    promql_parser.parse(query)


def test_every_panel_can_be_drawn() -> None:
    series = {panel["id"]: made_up(panel) for panel in DASHBOARD["panels"]}
    with Image.open(io.BytesIO(draw_panels(DASHBOARD, series, 60))) as picture:
        assert picture.format == "PNG"
        assert picture.width == 1400


def test_a_panel_without_data_is_drawn_empty() -> None:
    series: dict[int, list[Series]] = {panel["id"]: [] for panel in DASHBOARD["panels"]}
    empty, filled = (
        draw_panels(DASHBOARD, found, 60) for found in (series, series | {1: made_up(DASHBOARD["panels"][0])})
    )
    assert empty != filled


def test_a_legend_shows_the_labels() -> None:
    assert Series("{{task}}: {{result}}", {"task": "text", "result": "ok"}, []).name == "text: ok"
    assert Series("queued", {}, []).name == "queued"


@pytest.fixture
def metrics_port() -> Iterator[int]:
    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'relu_queue_depth{task="text"} 3\n')

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")
def test_prometheus_evaluates_the_queries_of_a_panel(metrics_port: int) -> None:
    (panel,) = [panel for panel in DASHBOARD["panels"] if "relu_queue_depth" in str(panel)]
    with dashboard.prometheus(metrics_port) as url:
        start_s = time.time()
        time.sleep(2)
        series = dashboard.read_panel(url, panel, start_s, time.time())
        (queued,) = [one for one in series if one.name == "queued"]
        assert [at_s for at_s, _ in queued.points] == pytest.approx([0, 1, 2], abs=0.01)
        assert {value for _, value in queued.points} == {3.0}
        with pytest.raises(common.PictureError, match="rejects rate"):
            dashboard.query(url, "rate(relu_queue_depth)", {"time": start_s})


def test_a_command_runs_in_a_terminal(tmp_path: Path) -> None:
    command = r"test -t 1 && stty size <&1 && printf '\033[31m%s\033[0m\n' $WORD"
    printed = terminal.record(command, tmp_path, {"PATH": "/usr/bin:/bin", "WORD": "red"})
    assert printed == f"{terminal.HEIGHT} {terminal.WIDTH}\n\x1b[31mred\x1b[0m"


def test_a_command_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(common.PictureError, match=r"`echo why; false \| cat` ended with status 1: why"):
        terminal.record("echo why; false | cat", tmp_path, {"PATH": "/usr/bin:/bin"})


def test_the_recording_is_an_svg_that_stands_alone() -> None:
    svg = terminal.render({"echo '<a> & b'": "<a> & b", "ls": "\x1b[31mred\x1b[0m\nplain"})
    assert [text for text, _ in texts_of(svg)] == [
        "relu-pipeline",
        "$ ",
        "echo '<a> & b'",
        "<a> & b",
        "$ ",
        "ls",
        "red",
        "plain",
    ]
    assert URL.findall(svg) == [SVG_NAMESPACE]
    assert not re.search(r"url\((?!#)|@import|@font-face", svg)


def test_each_command_appears_before_its_output_and_after_the_previous_one() -> None:
    svg = terminal.render({"a": "1\n2", "b": "3"})
    seconds = [float(found) for found in re.findall(r"animation-delay: ([\d.]+)s", svg)]
    assert len(seconds) == 4
    assert seconds == sorted(set(seconds))
    delayed = re.findall(r'text\[clip-path="(url\(#[\w-]+\))"\]', svg)
    assert delayed == [line for text, line in texts_of(svg)[1:] if text != "$ "]


def test_no_file_of_the_project_is_overwritten_by_the_example(tmp_path: Path) -> None:
    own = tmp_path / "picture.png"
    own.write_bytes(b"own")
    with pytest.raises(common.PictureError, match="exists"), terminal.example_file(own):
        pass
    assert own.read_bytes() == b"own"


def test_a_picture_that_is_too_large_is_not_written(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(256, size=(600, 600, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    with pytest.raises(common.PictureError, match="at most 250,000"):
        common.save_png(buffer.getvalue(), tmp_path / "noise.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", sorted(common.DOCS.glob("*.png")), ids=lambda path: path.name)
def test_pictures_are_small_and_wide_enough(path: Path) -> None:
    assert path.stat().st_size <= common.MAX_BYTES
    with Image.open(path) as picture:
        assert 1000 <= picture.width <= 1400


def test_the_recording_of_the_documentation_stands_alone() -> None:
    svg = (common.DOCS / "terminal.svg").read_text()
    assert URL.findall(svg) == [SVG_NAMESPACE]
    assert {*terminal.COMMANDS} <= {text for text, _ in texts_of(svg)}
