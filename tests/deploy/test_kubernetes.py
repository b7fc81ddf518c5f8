"""The manifests against Kubernetes' own schemas, and against the settings of the service that they run."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from serving.settings import load_settings
from tests.servers import ROOT

FOLDER = ROOT / "deploy/kubernetes"
KSERVE = yaml.safe_load((ROOT / "deploy/kserve/inferenceservice.yaml").read_text())
PIXEL_BYTES = 16  # that a decoded pixel takes at the peak: as it was read, and converted
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
    others = {"kustomization.yaml", "prometheus-adapter.yaml", "train.yaml"}
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
    assert f"USER {user}\n" in Path(ROOT / "Dockerfile").read_text()
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
    """Of the one worker 350 MB as the goal is, a largest image and all bodies; and the parent process."""
    (container,) = manifest("deployment.yaml")["spec"]["template"]["spec"]["containers"]
    limits = load_settings().limits
    worker = 350e6 + PIXEL_BYTES * limits.image_pixels + limits.buffered_bytes
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "1536Mi"}
    assert worker + 200e6 < 1536 << 20


def test_the_autoscaler_counts_on_one_worker_in_a_pod() -> None:
    (metric,) = manifest("autoscaler.yaml")["spec"]["metrics"]
    thousandths = metric["pods"]["target"]["averageValue"].removesuffix("m")
    assert int(thousandths) / 1000 == pytest.approx(0.6 / (1 - 0.6))


def test_the_ingress_leads_to_the_service_but_not_to_its_metrics() -> None:
    (rule,) = manifest("ingress.yaml")["spec"]["rules"]
    paths = {path["path"]: path for path in rule["http"]["paths"]}
    assert {"/", "/classify_image", "/classify_images", "/classify_text", "/classify_texts", "/v2"} < set(paths)
    assert not [path for path, one in paths.items() if one["pathType"] == "Prefix" and "/metrics".startswith(path)]
    assert "/metrics" not in paths
    service = manifest("service.yaml")
    (port,) = service["spec"]["ports"]
    backend = {"service": {"name": service["metadata"]["name"], "port": {"name": port["name"]}}}
    assert all(path["backend"] == backend for path in paths.values())


def test_the_ingress_has_the_limits_of_nginx_conf() -> None:
    prefix = "nginx.ingress.kubernetes.io/"
    annotations = {
        name.removeprefix(prefix): value for name, value in manifest("ingress.yaml")["metadata"]["annotations"].items()
    }
    text = "".join((ROOT / "deploy/nginx" / name).read_text() for name in ("replicas.conf", "http.conf"))
    rate, burst = int(annotations["limit-rps"]), int(annotations["limit-burst-multiplier"])
    for directive in (
        f"limit_conn address {annotations['limit-connections']};",
        f"zone=address_rate:10m rate={rate}r/s;",
        f"limit_req zone=address_rate burst={rate * burst} nodelay;",
        f"client_body_buffer_size {annotations['client-body-buffer-size']};",
        f"proxy_request_buffering {annotations['proxy-request-buffering']};",
        f"proxy_buffering {annotations['proxy-buffering']};",
        f"proxy_connect_timeout {annotations['proxy-connect-timeout']}s;",
        f"proxy_read_timeout {annotations['proxy-read-timeout']}s;",
        f"proxy_next_upstream {annotations['proxy-next-upstream']};",
        f"proxy_next_upstream_timeout {annotations['proxy-next-upstream-timeout']}s;",
    ):
        assert directive in text
    assert annotations["proxy-body-size"] == f"{load_settings().limits.image_batch_bytes >> 20}m"


def test_kserve_runs_the_same_container() -> None:
    assert (KSERVE["apiVersion"], KSERVE["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = KSERVE["spec"]["predictor"]
    (container,) = predictor["containers"]
    (deployed,) = manifest("deployment.yaml")["spec"]["template"]["spec"]["containers"]
    (image,) = manifest("kustomization.yaml")["images"]
    assert container["name"] == "kserve-container"
    assert container["image"] == f"{image['newName']}:{image['newTag']}"
    assert {"name": "PROTOCOL", "value": "v2"} in container["env"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 3000}
    assert [port["containerPort"] for port in container["ports"]] == [3000]
    assert container["resources"] == deployed["resources"]
    assert container["securityContext"].items() > deployed["securityContext"].items()
    assert predictor["timeout"] > load_settings().deadline_s


def test_the_pod_of_kserve_follows_the_schema_of_kubernetes() -> None:
    """KServe's own fields apart, a predictor is the specification of a pod."""
    own = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout"}
    spec = {name: value for name, value in KSERVE["spec"]["predictor"].items() if name not in own}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": KSERVE["metadata"], "spec": spec}
    kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)
