"""Weights of the model hub: from a stand-in on this machine, from where they were kept, and from nowhere."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from safetensors.torch import save

import cxrlens.models  # noqa: F401  (torchvision before timm)

NAME = "resnet10t.c3_in1k"

PROGRAM = """
import sys, time
from cxrlens.errors import CxrlensError
from cxrlens.models.backbones import build_backbone
began = time.monotonic()
try:
    made = build_backbone(sys.argv[1])
    print(made.origin, float(next(iter(made.network.state_dict().values())).flatten()[0]))
except CxrlensError as error:
    print(error)
print(time.monotonic() - began)
"""


def ask(endpoint: str, home: Path) -> tuple[str, float]:
    """Build the backbone in a process of its own, which asks this hub; give what it said, and its seconds."""
    own = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
    }
    outer = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, NAME],
        capture_output=True,
        text=True,
        check=True,
        env=outer | own,
    )
    said, seconds = done.stdout.strip().splitlines()
    return said, float(seconds)


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    from timm import create_model

    network = create_model(NAME, pretrained=False)
    state = {key: torch.full_like(value, 0.5) for key, value in network.state_dict().items()}
    content = save(state)

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200 if self.path == "/" or "model.safetensors" in self.path else 404)
            self.send_header("ETag", '"0123456789abcdef"')
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("Content-Length", str(0 if self.path == "/" else len(content)))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_weights_come_from_the_hub_and_are_kept(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    assert ask(endpoint, tmp_path)[0] == "ImageNet (resnet10t, model hub) 0.5"
    hub.shutdown()
    hub.server_close()
    assert ask(endpoint, tmp_path)[0] == "ImageNet (resnet10t, model hub) 0.5"


@pytest.mark.slow
def test_a_hub_that_is_away_is_one_sentence_within_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes calls and never answers
        refusing = socket.create_server(("127.0.0.1", 0))
        port = refusing.getsockname()[1]
        refusing.close()
        for endpoint in (
            f"http://127.0.0.1:{silent.getsockname()[1]}",
            f"http://127.0.0.1:{port}",
        ):
            said, seconds = ask(endpoint, tmp_path)
            assert said.startswith(
                f"the model hub ({endpoint.removeprefix('http://')}) does not answer"
            )
            assert "--weights FILE" in said
            # The wait is 4 s; the rest is timm's search for the name, on a machine that does other work.
            assert seconds < 8
