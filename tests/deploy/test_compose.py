"""compose.yaml and what it mounts. No engine is needed: what Compose would refuse is looked for in the file itself."""

import re
from collections.abc import Iterable
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
    passed = {f"# {name}" for service in SERVICES.values() for name, value in _environment(service) if value is None}
    assert set(offered) == wanted | passed
    assert not any(offered.values())
    assert not re.search(r"PASSWORD: (?!\$\{)", text)
    assert (FOLDER / ".gitignore").read_text().split() == [".env"]


def _environment(service: dict[str, Any]) -> Iterable[tuple[str, str | None]]:
    return service.get("environment", {}).items()


def test_without_a_key_in_the_environment_the_service_has_none() -> None:
    """Not an empty one, which the service refuses."""
    assert SERVICES["service"]["environment"] == SERVICES["prometheus"]["environment"] == {"RELU_API_KEY": None}


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_and_joined_exists(name: str) -> None:
    service = SERVICES[name]
    for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
        assert (FOLDER / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"], source
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    for other, condition in service.get("depends_on", {}).items():
        assert condition == {"condition": "service_healthy"}
        image_has_one = "build" in SERVICES[other] and "\nHEALTHCHECK " in (ROOT / "Dockerfile").read_text()
        assert image_has_one or "healthcheck" in SERVICES[other]


def test_the_service_is_built_from_the_dockerfile_and_confined() -> None:
    service = SERVICES["service"]
    assert Path(FOLDER / service["build"] / "Dockerfile").is_file()
    assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"])


def test_the_service_is_reached_through_nginx_alone() -> None:
    nginx = SERVICES["nginx"]
    assert "ports" not in SERVICES["service"]
    (port,) = re.findall(r"\n +listen (\d+);", (FOLDER / "nginx.conf").read_text())
    assert nginx["ports"] == [f"127.0.0.1:3000:{port}"]
    assert f"http://127.0.0.1:{port}/" in nginx["healthcheck"]["test"][-1]
    assert nginx["networks"] == SERVICES["service"]["networks"]
    assert (nginx["read_only"], nginx["cap_drop"]) == (True, ["ALL"])


def test_nginx_gets_each_file_that_it_includes() -> None:
    mounted = dict(volume.split(":")[:2] for volume in SERVICES["nginx"]["volumes"])
    targets = {target: source for source, target in mounted.items()}
    (main,) = [word for word in SERVICES["nginx"]["entrypoint"] if word.endswith(".conf")]
    included = re.findall(r"(?m)^ +include (\S+);", (FOLDER / targets[main]).read_text())
    assert {str(Path(main).parent / file) for file in included} < set(targets)


def test_nginx_limits_and_balances_the_replicas_as_without_compose() -> None:
    """The file of compose differs in where the replicas are, and in the number that is for all of them."""

    def directives(name: str) -> dict[str, str]:
        lines = [line.partition("#")[0].strip() for line in (FOLDER / "nginx" / name).read_text().splitlines()]
        return dict(
            re.fullmatch(r"(server|limit_conn \w+|\w+) ?(.*)[;{]", line).groups() for line in lines if line[:-1]
        )  # type: ignore[union-attr]

    local, compose = directives("replicas.conf"), directives("replicas-compose.conf")
    assert compose.pop("resolver").startswith("127.0.0.11 ")
    assert compose["server"] == local["server"].replace("127.0.0.1:3000", "service:3000 resolve")
    replicas = SERVICES["service"]["deploy"]["replicas"]
    assert int(compose["limit_conn replicas"]) == replicas * int(local["limit_conn replicas"])
    different = {"server", "limit_conn replicas"}
    assert compose.items() - local.items() == {(name, compose[name]) for name in different}
    assert compose.keys() == local.keys()


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana/datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((FOLDER / "grafana/dashboards.yml").read_text())["providers"]
    mounted = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/relu-pipeline.json" in mounted


def test_prometheus_scrapes_the_service_with_its_key() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    (replicas,) = job["dns_sd_configs"]
    assert (replicas["names"], replicas["type"], replicas["port"]) == (["service"], "A", 3000)
    assert f"> {job['authorization']['credentials_file']} " in SERVICES["prometheus"]["entrypoint"][-1]
    assert SERVICES["prometheus"]["networks"] == SERVICES["service"]["networks"]
