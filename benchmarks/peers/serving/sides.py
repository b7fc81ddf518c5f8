"""The compared servers, their settings and environments."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ENVIRONMENTS = Path("benchmarks/.venvs")
SHARED = ("numpy", "pillow", "tokenizers", "uvloop", "httptools", "onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Side:
    """Server to compare.

    `command`, `prepare` (runs before, not timed), `environment` and the working directory `folder` may contain {cores},
    {port}, {port_2}, {scratch} and {root}. `paths` is keyed by the kind of load, `form` is the request format.
    `packages` are installed in a separate environment; without them the side runs in ours. `tolerance` is that of the
    probabilities.
    """

    command: str
    ready: str
    paths: Mapping[str, str]
    form: str = "raw"
    environment: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    prepare: str = ""
    folder: str = "{scratch}"
    tolerance: float = 1e-4


OURS, BEHIND_NGINX, LIMIT = "ours", "ours_behind_nginx", "starlette"
OUR_PATHS = {
    "image": "/classify_image",
    "image_form": "/classify_image",
    "image_batch": "/classify_images",
    "text": "/classify_text",
    "text_batch": "/classify_texts",
}
OUR_ENVIRONMENT = {"BENTOML_DO_NOT_TRACK": "true"}
LIMIT_PATHS = {"image": "/image", "image_form": "/form", "text": "/text"}

LITSERVE = ("litserve==0.2.19", "python-multipart")
LITSERVE_PATHS = {"image": "/image", "image_form": "/image", "text": "/text"}
MLFLOW = ("mlflow==3.17.2",)
MLFLOW_PATHS = {"image": "/invocations", "text": "/invocations"}
MLSERVER = ("mlserver==1.7.1", "orjson", "uvloop==0.21.0")  # its workers do not start with a later uvloop
MLSERVER_PATHS = {"image": "/v2/models/served/infer", "text": "/v2/models/served/infer"}
MLSERVER_ENVIRONMENT = {
    "MLSERVER_HOST": "127.0.0.1",
    "MLSERVER_HTTP_PORT": "{port}",
    "MLSERVER_GRPC_PORT": "{port_2}",
    "MLSERVER_DEBUG": "false",
    "MLSERVER_GZIP_ENABLED": "false",
    "MLSERVER_METRICS_ENDPOINT": "",
    "MLSERVER_MODEL_NAME": "served",
    "MLSERVER_MODEL_IMPLEMENTATION": "mlserver_side.Classify",
}
RAY = ("ray[serve]==2.60.0",)
RAY_PATHS = {"image": "/image", "text": "/text"}
# The settings of Ray's guide to high throughput: HAProxy instead of the proxy in Python.
RAY_THROUGHPUT = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    "RAY_SERVE_HAPROXY_NBTHREAD": "{cores}",
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "{scratch}/haproxy/haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "{scratch}/haproxy/admin.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "{scratch}/haproxy",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "{scratch}/haproxy/server-state",
}
RAY_ENVIRONMENT = {"RAY_TMPDIR": "{scratch}"}
RAY_COMMAND = "python -m ray_side {port} {cores}"

SIDES = {
    OURS: Side(
        "python -m bentoml serve --host 127.0.0.1 --port {port}",
        "/readyz",
        OUR_PATHS,
        environment=OUR_ENVIRONMENT,
        folder="{root}",
    ),
    BEHIND_NGINX: Side(
        "python -m benchmarks.peers.serving.nginx_side {port} {cores}",
        "/readyz",
        OUR_PATHS,
        environment=OUR_ENVIRONMENT,
        folder="{root}",
    ),
    LIMIT: Side(
        "python -m uvicorn starlette_side:app --host 127.0.0.1 --port {port} --workers {cores} "
        "--loop uvloop --http httptools --log-level warning --no-access-log",
        "/ready",
        LIMIT_PATHS,
    ),
    "litserve": Side("python -m litserve_side {port} {cores} manager", "/health", LITSERVE_PATHS, packages=LITSERVE),
    "mlflow": Side(
        "mlflow models serve --model-uri {scratch}/mlflow --env-manager local --host 127.0.0.1 --port {port} "
        "--workers {cores}",
        "/ping",
        MLFLOW_PATHS,
        form="mlflow",
        environment={"UVICORN_LOG_LEVEL": "warning", "UVICORN_ACCESS_LOG": "0", "UVICORN_LOOP": "uvloop"},
        packages=MLFLOW,
        prepare="python -m mlflow_side {scratch}/mlflow",
    ),
    "mlserver": Side(
        "mlserver start {scratch}",
        "/v2/models/served/ready",
        MLSERVER_PATHS,
        form="v2",
        environment=MLSERVER_ENVIRONMENT | {"MLSERVER_PARALLEL_WORKERS": "0"},
        packages=MLSERVER,
    ),
    "ray": Side(RAY_COMMAND, "/-/healthz", RAY_PATHS, environment=RAY_ENVIRONMENT | RAY_THROUGHPUT, packages=RAY),
}
PEERS = [name for name in SIDES if name not in (OURS, BEHIND_NGINX, LIMIT)]
# Not in the comparison, because it may use the int8 graphs: all others run the float32 graphs.
SIDES["ours_as_shipped"] = replace(
    SIDES[OURS], environment=OUR_ENVIRONMENT | {"RELU_MODELS_DIR": "{root}/models"}, tolerance=0.2
)
# For `--sides`: one replica instead of one per core, and other settings of the peers, which were slower.
FURTHER = {
    "ours_one_replica": replace(SIDES[BEHIND_NGINX], command="python -m benchmarks.peers.serving.nginx_side {port} 1"),
    "litserve_zmq": replace(SIDES["litserve"], command="python -m litserve_side {port} {cores} zmq"),
    "mlserver_pool": replace(
        SIDES["mlserver"], environment=MLSERVER_ENVIRONMENT | {"MLSERVER_PARALLEL_WORKERS": "{cores}"}
    ),
    "ray_defaults": replace(SIDES["ray"], environment=RAY_ENVIRONMENT),
}


def python_of(side: Side) -> Path:
    """Return the Python of the side's environment, which is rebuilt when its packages change."""
    if not side.packages:
        return Path(sys.executable)
    folder = (ENVIRONMENTS / side.packages[0].partition("=")[0].partition("[")[0]).resolve()
    python, built = folder / "bin/python", folder / "requirements.txt"
    named = {requirement.partition("=")[0] for requirement in side.packages}
    shared = [requirement for requirement in shared_versions() if requirement.partition("=")[0] not in named]
    wanted = "\n".join([*side.packages, *shared])
    if not built.exists() or built.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["uv", "venv", "--quiet", str(folder)], check=True)
        words = ["uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
        subprocess.run([*words, *wanted.splitlines()], check=True)
        built.write_text(wanted)
    return python


def shared_versions() -> list[str]:
    """Return the packages that all sides share, at our versions."""
    found = []
    for name in SHARED:
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return found


def packages_of(side: Side) -> dict[str, str]:
    """Return the versions of all packages in the side's environment by name."""
    words = ["uv", "pip", "list", "--quiet", "--format", "json", "--python", str(python_of(side))]
    listed = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    return {package["name"]: package["version"] for package in json.loads(listed)}
