"""A real server in a thread, for what only a socket can show."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI

from cxrlens.serving.serve import Server


@contextmanager
def live(app: FastAPI, *tls: Path) -> Iterator[str]:
    """Serve an application on a free port of this machine; give its address. `tls`: certificate, key."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = Server(app, bound, app.state.engine.limits, *tls)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(15)
        bound.close()


def port_of(address: str) -> int:
    """Port of an address that `live` gave."""
    return int(address.rpartition(":")[2])
