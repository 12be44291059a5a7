"""Connections that say nothing, or too slowly, and the server's end."""

import contextlib
import http.client
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.responses import Response

from cxrlens.evaluation.card import ModelCard
from cxrlens.prediction import Predictor
from cxrlens.runs import Run
from cxrlens.serving import serve as connections
from cxrlens.serving.api import create_app
from cxrlens.serving.limits import Limits
from tests.serving.certificate import certificate
from tests.serving.live_server import live, port_of

Silent = Callable[[str], socket.socket]


@pytest.fixture
def silent() -> Iterator[Silent]:
    """Connect to an address and say nothing."""
    with contextlib.ExitStack() as lines:
        yield lambda address: lines.enter_context(
            socket.create_connection(("127.0.0.1", port_of(address)), timeout=10)
        )


def is_closed(line: socket.socket, within: float = 0.01) -> bool:
    line.settimeout(within)
    try:
        return line.recv(1000) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_who_says_nothing_or_too_slowly_is_hung_up_on(
    predictor: Predictor, card: ModelCard, film: bytes, silent: Silent
) -> None:
    limits = Limits(head_seconds=0.4, idle_seconds=1)
    with live(create_app(predictor, card, limits)) as address:
        mute, trickling = silent(address), silent(address)
        with contextlib.suppress(ConnectionError):
            for letter in b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 200:
                trickling.sendall(bytes([letter]))
                time.sleep(0.02)
                if is_closed(trickling):
                    break
            else:
                pytest.fail("it may take its time")
        assert is_closed(mute, 30)
        idle = http.client.HTTPConnection("127.0.0.1", port_of(address))
        idle.request("GET", "/health")
        idle.getresponse().read()
        assert not is_closed(idle.sock)
        idle.sock.sendall(b"GET /hea")  # and no more
        assert is_closed(idle.sock, 30)
        idle.close()
        with httpx.Client(base_url=address, timeout=60) as client:  # one that is used goes on
            assert {client.get("/health").status_code for _ in range(3)} == {200}
            assert client.post("/predict", files={"film": film}).status_code == 200


def test_silent_connections_make_room_for_one_that_asks(
    predictor: Predictor, card: ModelCard, monkeypatch: pytest.MonkeyPatch, silent: Silent
) -> None:
    monkeypatch.setattr(connections, "most_connections", lambda: 5)
    with live(create_app(predictor, card)) as address:
        lines = []
        for _ in range(7):
            lines.append(silent(address))
            time.sleep(0.02)
        assert httpx.get(f"{address}/health", timeout=60).status_code == 200
        assert [is_closed(line, 0.2) for line in lines] == [True] * 3 + [False] * 4


def test_connections_leave_handles_for_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections.os, "listdir", lambda place: ["0"] * 56)
    for handles, most in ((256, 152), (96, 20), (60, 2), (10**6, 1000)):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, n=handles: (n, n))
        assert connections.most_connections() == most


def test_who_does_not_take_the_answer_is_hung_up_on(
    predictor: Predictor, card: ModelCard, silent: Silent
) -> None:
    app = create_app(predictor, card, Limits(answer_seconds=0.5))

    @app.get("/endless")
    async def endless() -> Response:
        return Response(bytes(20_000_000))

    with live(app) as address:
        line = silent(address)
        line.sendall(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n")
        time.sleep(1.5)
        line.settimeout(5)
        got = 0
        with contextlib.suppress(ConnectionError):
            while part := line.recv(2**20):
                got += len(part)
        assert got < 20_000_000


def test_it_speaks_tls_and_gives_a_handshake_its_time(
    predictor: Predictor, card: ModelCard, film: bytes, tmp_path: Path, silent: Silent
) -> None:
    pair = certificate(tmp_path)
    app = create_app(predictor, card, Limits(head_seconds=0.5), secure=True)
    with live(app, *pair) as address:
        mute = silent(address)
        trusting = ssl.create_default_context(cafile=pair[0])
        with httpx.Client(base_url=address, verify=trusting, timeout=60) as client:
            answer = client.post("/predict", files={"film": film})
            assert answer.status_code == 200
            assert answer.headers["strict-transport-security"]
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/health")  # nobody has vouched for the certificate
        assert is_closed(mute, 30)


@contextlib.contextmanager
def few_handles(run: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The slow server, in a process that may open 256 files."""
    script = Path(__file__).with_name("slow_server.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(run)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
    )
    assert process.stderr is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
        assert found
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process, found[0]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.slow
def test_others_are_answered_and_sigterm_ends_it_whatever_a_film_does(
    small_run: Run, film: bytes, silent: Silent
) -> None:
    with few_handles(small_run.path) as (process, address):
        for _ in range(300):
            silent(address)
        assert httpx.get(f"{address}/health", timeout=30).status_code == 200

        def ask() -> None:
            with contextlib.suppress(httpx.HTTPError):
                httpx.post(f"{address}/predict", files={"film": b"slow"}, timeout=60)

        for _ in range(2):
            threading.Thread(target=ask, daemon=True).start()
        time.sleep(0.5)
        answer = httpx.post(f"{address}/predict", files={"film": film}, timeout=60)
        assert answer.status_code == 200
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) != 0
        assert time.monotonic() - start < 10
