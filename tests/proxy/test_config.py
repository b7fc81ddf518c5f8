"""The files in deploy/: nginx accepts them, they agree with the service's own limits, and TLS works."""

import inspect
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests
import uvicorn
import yaml

from deploy.nginx import CONFIG, FOLDER, proxy
from tests.proxy.wire import TIMEOUT_S, connect, echo, refusal
from tests.servers import ROOT

SETTINGS = yaml.safe_load((ROOT / "configs/serving.yaml").read_text())
SERVER = (FOLDER / "nginx/server.conf").read_text()
TLS = FOLDER / "nginx-tls.conf"
REQUEST_SIZES = {
    "/": "text_bytes",
    "/classify_text": "text_bytes",
    "/classify_image": "image_bytes",
    "/classify_images": "image_batch_bytes",
    "/classify_texts": "text_batch_bytes",
    "/v2/models/image/infer": "image_batch_bytes",
    "/v2/models/text/infer": "text_batch_bytes",
}


def test_nginx_accepts_the_configuration(nginx: str, tmp_path: Path) -> None:
    words = [nginx, "-t", "-p", str(tmp_path), "-e", "stderr", "-c", str(CONFIG)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def body_size(path: str) -> int:
    """Return `client_max_body_size` of the location of `path`."""
    for modifier, pattern, content in re.findall(r"(?m)^location (=|~|\^~)? ?(\S+) \{\n(.*?)^\}", SERVER, re.DOTALL):
        matches = {"=": path == pattern, "~": re.search(pattern, path), "^~": path.startswith(pattern)}
        if matches.get(modifier) and (size := re.search(r"client_max_body_size (\d+);", content)):
            return int(size[1])
    (default,) = re.findall(r"(?m)^client_max_body_size (\d+);", SERVER)
    return int(default)


@pytest.mark.parametrize("path", REQUEST_SIZES)
def test_body_sizes_are_those_of_the_service(path: str) -> None:
    assert body_size(path) == SETTINGS["limits"][REQUEST_SIZES[path]]


def test_the_service_speaks_first_when_it_is_too_slow() -> None:
    (seconds,) = re.findall(r"\nproxy_read_timeout (\d+)s;", (FOLDER / "nginx/http.conf").read_text())
    assert int(seconds) > SETTINGS["deadline_s"]


def test_nginx_closes_idle_connections_before_the_service_does() -> None:
    """A POST that meets a closing connection is lost: nginx may not send it again."""
    (seconds,) = re.findall(r"\n +keepalive_timeout (\d+)s;", (FOLDER / "nginx/replicas.conf").read_text())
    assert int(seconds) < inspect.signature(uvicorn.Config).parameters["timeout_keep_alive"].default


def test_a_replica_gets_as_many_requests_at_one_time_as_it_answers() -> None:
    (requests_at_once,) = re.findall(r"\nlimit_conn replicas (\d+);", (FOLDER / "nginx/replicas.conf").read_text())
    assert int(requests_at_once) == SETTINGS["queue"]["max_requests"]


def test_both_main_files_agree_but_for_their_servers() -> None:
    def common(path: Path) -> str:
        return re.search(r"daemon off;.*?    include nginx/replicas.conf;", path.read_text(), re.DOTALL)[0]  # type: ignore[index]

    assert common(CONFIG) == common(TLS)


def test_a_directive_that_is_not_there_is_an_error() -> None:
    with (
        pytest.raises(ValueError, match="no `client_body_timeuot`"),
        proxy([1], directives={"client_body_timeuot": "1s"}),
    ):
        pass


def test_a_directive_that_nginx_refuses_is_an_error_with_its_message() -> None:
    with pytest.raises(RuntimeError, match="invalid value"), proxy([1], directives={"send_timeout": "soon"}):
        pass


def test_without_nginx_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(FileNotFoundError, match="apt-get install nginx"), proxy([1]):
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed `cert.pem` for 127.0.0.1, and its `key.pem` beside it."""
    folder = tmp_path_factory.mktemp("tls")
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([*words.split(), *files], check=True, capture_output=True)
    return folder / "cert.pem"


@pytest.fixture(scope="module")
def tls(certificate: Path) -> Iterator[str]:
    files = {"ssl_certificate": str(certificate), "ssl_certificate_key": str(certificate.with_name("key.pem"))}
    with echo() as (port, _), proxy([port], directives=files, config=TLS) as url:
        yield url


def test_tls_is_passed_on_as_the_scheme(tls: str, certificate: Path) -> None:
    answer = requests.get(f"{tls}/readyz", verify=str(certificate), timeout=TIMEOUT_S)
    assert answer.json()["X-Forwarded-Proto"] == "https"


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_offers_http_2(tls: str, certificate: Path, version: ssl.TLSVersion, protocol: str) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols([protocol])
    with connect(tls) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted:
        assert encrypted.selected_alpn_protocol() == protocol


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_old_tls_is_refused(tls: str, certificate: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with connect(tls) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_plain_http_on_the_tls_port_is_an_error_of_the_usual_shape(tls: str) -> None:
    answer = requests.get(tls.replace("https", "http"), timeout=TIMEOUT_S)
    assert refusal(answer) == (400, "invalid_http")


def test_plain_http_is_redirected_with_its_method(tls: str) -> None:
    (master,) = [child for child in psutil.Process().children() if any(TLS.name in word for word in child.cmdline())]
    ports = {one.laddr.port for one in master.net_connections("tcp")}
    (port,) = ports - {urlsplit(tls).port}
    answer = requests.post(f"http://127.0.0.1:{port}/classify_text?a=1", allow_redirects=False, timeout=TIMEOUT_S)
    assert (answer.status_code, answer.headers["Location"]) == (308, "https://127.0.0.1/classify_text?a=1")
