"""Whatever dashboard, alerts and autoscaler ask for is served: names and labels, by a real service over HTTP."""

import json
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from serving.settings import load_settings
from tests.servers import ROOT

DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())
ALERTS = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())["groups"][0]["rules"]
ADAPTER = yaml.safe_load((ROOT / "deploy/kubernetes/prometheus-adapter.yaml").read_text())["rules"]["custom"]
PROMETHEUS_ADDS = {"up": {"job", "instance"}}
CLUSTER_ADDS = {"namespace", "pod"}


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and the PromQL with what Grafana and the adapter put in for their variables."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]
    for rule in ADAPTER:
        query = rule["metricsQuery"].replace("<<.Series>>", rule["seriesQuery"].partition("{")[0])
        yield "adapter", query.replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", 'namespace="a"')


@pytest.fixture(scope="module")
def served(busy_service: str) -> dict[str, set[str]]:
    """The labels of each metric."""
    found: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(requests.get(f"{busy_service}/metrics", timeout=10).text):
        for sample in family.samples:
            found[sample.name] |= set(sample.labels)
    return found | PROMETHEUS_ADDS


def read(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric of it with the labels that it is asked by."""
    grouped: set[str] = set()
    selectors: list[Any] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            grouped.update(node.modifier.labels)
        if isinstance(node, promql_parser.VectorSelector):
            selectors.append(node)

    promql_parser.walk(promql_parser.parse(expression), visit)
    for selector in selectors:
        yield selector.name, grouped | {matcher.name for matcher in selector.matchers.matchers}


@pytest.mark.slow
@pytest.mark.parametrize(("place", "expression"), list(expressions()))
def test_what_is_asked_for_is_served(served: dict[str, set[str]], place: str, expression: str) -> None:
    asked = dict(read(expression))
    assert asked
    for name, labels in asked.items():
        assert name in served, f"{place}: {name} is not served"
        assert labels - CLUSTER_ADDS <= served[name], f"{place}: {name} has the labels {served[name]}"


@pytest.mark.slow
def test_single_events_are_counted_from_zero(busy_service: str) -> None:
    """`increase` of a counter that begins at 1 is 0: the first refused model would raise no alert."""
    lines = requests.get(f"{busy_service}/metrics", timeout=10).text.splitlines()
    counts = {line for line in lines if line.startswith("relu_reloads_total")}
    assert counts == {
        f'relu_reloads_total{{result="{result}",task="{task}"}} {float((task, result) == ("text", "refused"))}'
        for task in ("image", "text")
        for result in ("ok", "refused")
    }


def test_the_autoscaler_asks_for_what_the_adapter_gives() -> None:
    (rule,) = ADAPTER
    autoscaler = yaml.safe_load((ROOT / "deploy/kubernetes/autoscaler.yaml").read_text())
    (metric,) = autoscaler["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert metric["type"] == "Pods"


def test_the_dashboard_draws_the_threshold_of_the_service() -> None:
    (panel,) = [panel for panel in DASHBOARD["panels"] if panel["title"] == "Drift"]
    line = panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]
    assert line["value"] == load_settings().drift.threshold


@pytest.mark.slow
def test_the_dashboard_shows_all_that_is_served(served: dict[str, set[str]]) -> None:
    shown = {name for _, expression in expressions() for name, _ in read(expression)}
    families = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in served}
    assert families == {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in shown}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch()
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    config["scrape_configs"][0]["authorization"]["credentials_file"] = str(key)
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(ROOT / "deploy/alerts.yml", tmp_path)
    subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], check=True)
    subprocess.run(["promtool", "test", "rules", "alerts.yml"], cwd=ROOT / "tests/deploy", check=True)
