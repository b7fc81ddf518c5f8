"""What is off by default, switched on: TLS and tracing by BentoML's own settings, and the access log."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

import pytest
import requests
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.servers import Certificate, Server, copy_project, start
from tests.serving.safety.pictures import picture, plain

pytestmark = pytest.mark.slow

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
PATIENCE_S = 10


class Collector(ThreadingHTTPServer):
    """Keeps what is sent to it, as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[bytes] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"

    def await_bytes(self, *wanted: bytes) -> None:
        end = time.monotonic() + PATIENCE_S
        while not all(any(part in body for body in self.received) for part in wanted):
            assert time.monotonic() < end, f"not in {len(self.received)} exports: {wanted}"
            time.sleep(0.1)


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = Certificate(folder / "certificate.pem", folder / "key.pem")
    files.certificate.write_bytes(signed.public_bytes(pem))
    files.key.write_bytes(private)
    return files


@pytest.fixture(scope="module")
def server(
    models: Path, collector: Collector, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("options")
    tracing = {
        "exporter_type": "otlp",
        "sample_rate": 1.0,
        "excluded_urls": "",  # the service excludes all by default
        "otlp": {"protocol": "http", "endpoint": collector.endpoint},
    }
    config = folder / "bentoml.yaml"
    config.write_text(yaml.safe_dump({"services": {"relu_pipeline": {"tracing": tracing}}}))
    environment = {"BENTOML_CONFIG": str(config), "OTEL_BSP_SCHEDULE_DELAY": "200"}  # export every 200 ms
    with start(models, environment, copy_project(folder / "project", access_log=True), tls=certificate) as running:
        yield running


@pytest.fixture
def session(certificate: Certificate) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.verify = str(certificate.certificate)
        session.trust_env = False  # REQUESTS_CA_BUNDLE would take precedence
        yield session


def test_large_answers_over_tls_are_complete(server: Server, session: requests.Session) -> None:
    texts = ["The striker wins the cup final", "Oil prices fall"] * 128
    answer = session.post(f"{server.url}/classify_texts", json={"texts": texts}, timeout=10)
    assert len(answer.json()["predictions"]) == len(texts)
    for path in ("/static_content/swagger-ui-bundle.js", "/relu_health/image.png", "/docs.json"):
        response = session.get(f"{server.url}{path}", timeout=10)
        assert response.ok
        assert len(response.content) == int(response.headers["Content-Length"]) > 20_000


def test_large_requests_over_tls_are_answered(server: Server, session: requests.Session) -> None:
    png = plain(picture())
    files = [("images", ("a.png", png + bytes(200_000)))] * 100
    predictions = session.post(f"{server.url}/classify_images", files=files, timeout=20).json()["predictions"]
    assert len({json.dumps(prediction) for prediction in predictions}) == 1
    assert "label" in predictions[0]


def test_without_tls_the_port_answers_nobody(server: Server) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url.replace("https", "http"), timeout=5)


def test_the_access_log_has_a_line_of_json_for_each_request(server: Server, session: requests.Session) -> None:
    sent = {
        "log-1": ("POST", "/classify_text", 200, {"json": {"text": "goal"}}),
        "log-2": ("POST", "/classify_text", 400, {"json": {"text": ""}}),
        "log-3": ("GET", "/info", 200, {}),
        "log-4": ("GET", "/nothing?secret=1", 404, {}),
        "log-5": ("GET", "/livez", 200, {}),
        "log-6": ("POST", "/classify_text", 415, {"data": "goal"}),
    }
    for request_id, (method, path, status, content) in sent.items():
        headers = {"X-Request-ID": request_id}
        response = session.request(method, f"{server.url}{path}", headers=headers, timeout=10, **content)
        assert response.status_code == status
    lines = await_lines(server, set(sent))
    assert len(lines) == len(sent), "each request is logged once"
    for line in lines:
        method, path, status, _ = sent[line["request_id"]]
        assert 0 < line.pop("duration_ms") < 10_000
        assert line == {
            "request_id": line["request_id"],
            "client": "127.0.0.1",
            "method": method,
            "path": path.partition("?")[0],
            "status": status,
        }


def await_lines(server: Server, request_ids: set[str]) -> list[dict[str, object]]:
    """Return the lines of the access log with these request ids, once there is one for each."""
    end = time.monotonic() + PATIENCE_S
    while True:
        logged = server.log.read_text().splitlines()
        lines = [json.loads(line) for line in logged if line.startswith('{"request_id"')]
        found = [line for line in lines if line["request_id"] in request_ids]
        if {line["request_id"] for line in found} == request_ids:
            assert sum('"request_id"' in line for line in logged) == len(lines), "each is written once, as JSON alone"
            return found
        assert time.monotonic() < end, server.log.read_text()
        time.sleep(0.1)


def test_a_trace_goes_on_in_the_service_and_its_spans_reach_the_collector(
    server: Server, session: requests.Session, collector: Collector
) -> None:
    """https://www.w3.org/TR/trace-context/"""
    headers = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
    assert session.post(f"{server.url}/classify_text", json={"text": "goal"}, headers=headers, timeout=10).ok
    collector.await_bytes(bytes.fromhex(TRACE_ID), bytes.fromhex(SPAN_ID))
