"""The manifests against Kubernetes' own schemas, and against the service that they run."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from serving.settings import load_settings
from tests.servers import ROOT
from tests.serving.safety.pictures import PIXEL_BYTES

FOLDER = ROOT / "deploy/kubernetes"
RESOURCES = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
VERSIONS = ("1.31", "1.37")  # `preStop.sleep` is on by default from 1.30


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RESOURCES)
def test_manifests_follow_the_schemas(name: str, version: str) -> None:
    kubernetes_validate.validate(manifest(name), version, strict=True)


def test_a_manifest_with_a_typing_error_is_found() -> None:
    wrong = manifest("deployment.yaml")
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_file_is_used_or_for_the_adapter() -> None:
    others = {"kustomization.yaml", "prometheus-adapter.yaml"}
    assert {path.name for path in FOLDER.iterdir()} == {*RESOURCES, *others}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kustomize_names_the_image() -> None:
    rendered = subprocess.run(["kubectl", "kustomize", FOLDER], check=True, capture_output=True, text=True).stdout
    kinds = {one["kind"]: one for one in yaml.safe_load_all(rendered)}
    assert len(kinds) == len(RESOURCES)
    (container,) = kinds["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/relu-pipeline:0.1.0"


def test_selectors_find_the_pods() -> None:
    labels = manifest("deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    assert manifest("deployment.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("service.yaml")["spec"]["selector"] == labels
    assert manifest("disruption.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("network.yaml")["spec"]["podSelector"]["matchLabels"] == labels
    target = manifest("autoscaler.yaml")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", manifest("deployment.yaml")["metadata"]["name"])


def test_the_pod_may_do_nothing_but_serve() -> None:
    pod = manifest("deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert f"USER {user}\n" in Path(ROOT / "deploy/Dockerfile").read_text()
    assert pod["automountServiceAccountToken"] is False
    network = manifest("network.yaml")["spec"]
    assert network["policyTypes"] == ["Ingress", "Egress"]
    assert network["egress"] == []
    assert [port["port"] for rule in network["ingress"] for port in rule["ports"]] == [3000]


def test_the_grace_period_outlasts_the_drain() -> None:
    pod = manifest("deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    settings = load_settings()
    drain_s = container["lifecycle"]["preStop"]["sleep"]["seconds"] + settings.drain_notice_s + settings.deadline_s
    assert pod["terminationGracePeriodSeconds"] > drain_s


def test_the_memory_limit_holds_what_the_limits_of_the_service_allow() -> None:
    """Of each worker 350 MB as the goal is, a largest image and all bodies; and the parent process."""
    (container,) = manifest("deployment.yaml")["spec"]["template"]["spec"]["containers"]
    settings = load_settings()
    worker = 350e6 + PIXEL_BYTES * settings.max_image_pixels + settings.max_held_bytes
    limit = container["resources"]["limits"]["memory"]
    assert limit == "2Gi"
    assert int(container["resources"]["limits"]["cpu"]) * worker + 200e6 < 2 << 30


def test_each_limited_core_gets_its_worker() -> None:
    (container,) = manifest("deployment.yaml")["spec"]["template"]["spec"]["containers"]
    (metric,) = manifest("autoscaler.yaml")["spec"]["metrics"]
    workers = int(container["resources"]["limits"]["cpu"])
    assert float(metric["pods"]["target"]["averageValue"]) == pytest.approx(workers * 0.6 / (1 - 0.6))
