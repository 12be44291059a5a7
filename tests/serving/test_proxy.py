"""The server behind nginx with the configuration that docs/ shows."""

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cxrlens.evaluation.card import ModelCard
from cxrlens.prediction import Predictor
from cxrlens.serving.api import create_app
from tests.serving.certificate import certificate
from tests.serving.live_server import live, port_of

CONF = Path(__file__).parents[2] / "docs" / "nginx.conf"
TOKEN = "a token of the proxy test"
BEARER = {"Authorization": f"Bearer {TOKEN}"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def proxy(
    predictor: Predictor, card: ModelCard, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of nginx, which stands in front of a server with a token."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    pem, key = certificate(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with live(create_app(predictor, card, token=TOKEN)) as address:
        written = CONF.read_text()
        for name, here in {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "films.hospital.example": "127.0.0.1",
            "/etc/ssl/films.pem": str(pem),
            "/etc/ssl/films-key.pem": str(key),
            "http://127.0.0.1:8000": address,
        }.items():
            assert name in written
            written = written.replace(name, here)
        rooms = "".join(
            f"{kind}_temp_path {folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off;\npid {folder}/pid;\nerror_log {folder}/log;\nevents {{}}\n"
            f"http {{\n{rooms}{written}}}\n"
        )
        command = [nginx, "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")]
        process = subprocess.Popen(command)
        trusting = ssl.create_default_context(cafile=str(pem))
        base = f"https://127.0.0.1:{port}"
        try:
            with httpx.Client(base_url=base, verify=trusting, timeout=60) as client:
                for _ in range(100):
                    try:
                        client.get("/health")
                        break
                    except httpx.TransportError:
                        assert process.poll() is None, (folder / "log").read_text()
                        time.sleep(0.2)
                yield client
        finally:
            process.terminate()
            process.wait(10)


def test_films_are_predicted_through_it(proxy: httpx.Client, film: bytes) -> None:
    answer = proxy.post("/predict", files=[("film", ("a.png", film))] * 3, headers=BEARER)
    assert answer.status_code == 200
    assert len(answer.json()["films"]) == 3
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_the_token_is_asked_for_though_the_proxy_calls_from_this_machine(
    proxy: httpx.Client, film: bytes
) -> None:
    assert proxy.post("/predict", files={"film": film}).status_code == 401
    assert proxy.get("/health").status_code == 200


def test_its_own_page_may_ask_and_other_sites_may_not(proxy: httpx.Client, film: bytes) -> None:
    own = {**BEARER, "Origin": str(proxy.base_url).rstrip("/")}
    assert proxy.post("/predict", files={"film": film}, headers=own).status_code == 200
    strange = {**BEARER, "Origin": "https://elsewhere.example"}
    assert proxy.post("/predict", files={"film": film}, headers=strange).status_code == 403


def test_a_large_upload_reaches_the_server_which_judges_it(proxy: httpx.Client) -> None:
    """Ten times what nginx lets through by itself; the sentence is ours, not a page of the proxy."""
    answer = proxy.post("/predict", files={"film": bytes(12_000_000)}, headers=BEARER)
    assert answer.status_code in (200, 400, 415, 422)
    assert "nginx" not in answer.text


def test_a_form_beyond_all_bounds_is_refused(proxy: httpx.Client) -> None:
    head = {
        **BEARER,
        "Content-Length": str(2 << 30),
        "Content-Type": "multipart/form-data; boundary=b",
    }
    request = "POST /predict HTTP/1.1\r\nHost: {}\r\n{}\r\n\r\n".format(
        proxy.base_url.netloc.decode(), "\r\n".join(f"{k}: {v}" for k, v in head.items())
    )
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port_of(str(proxy.base_url).rstrip("/")))) as line,
        unchecked.wrap_socket(line) as tls,
    ):
        tls.sendall(request.encode())
        assert b" 413 " in tls.recv(1000).splitlines()[0]
