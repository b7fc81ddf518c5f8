"""compose.yaml and what it mounts. No engine is needed: what Compose would refuse is looked for in the file itself."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import ROOT

FOLDER = ROOT / "deploy"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_no_two_services_publish_one_port() -> None:
    ports = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(ports) == sorted(set(ports))


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"service"}))
def test_images_have_a_version(name: str) -> None:
    assert re.search(r":v?\d+\.\d+", SERVICES[name]["image"])


def test_mlflow_is_the_version_that_the_pipeline_uses() -> None:
    (version,) = re.findall(r"^mlflow==([\d.]+)", (ROOT / "requirements/full.txt").read_text(), re.MULTILINE)
    assert f":v{version}-full" in SERVICES["mlflow"]["image"]


def test_passwords_come_from_the_environment_and_are_all_in_the_example() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{([A-Z_]+)", text))
    offered = dict(line.split("=", 1) for line in (FOLDER / ".env.example").read_text().splitlines() if "=" in line)
    assert set(offered) == wanted
    assert not any(offered.values())
    assert not re.search(r"(PASSWORD|KEY): (?!\$\{)", text)
    assert (FOLDER / ".gitignore").read_text().split() == [".env"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_and_joined_exists(name: str) -> None:
    service = SERVICES[name]
    for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
        assert (FOLDER / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"], source
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    for other, condition in service.get("depends_on", {}).items():
        assert condition == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]


def test_the_service_is_built_from_the_dockerfile_and_confined() -> None:
    service = SERVICES["service"]
    assert Path(FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"])


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana/datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((FOLDER / "grafana/dashboards.yml").read_text())["providers"]
    mounted = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/relu-pipeline.json" in mounted


def test_prometheus_scrapes_the_service_with_its_key() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["service:3000"]}]
    assert f"> {job['authorization']['credentials_file']} " in SERVICES["prometheus"]["entrypoint"][-1]
    assert SERVICES["prometheus"]["networks"] == SERVICES["service"]["networks"]
