"""Start the server: model, address, TLS, what may be logged; its connections, and its end."""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cxrlens.errors import CxrlensError
from cxrlens.evaluation.card import card_of
from cxrlens.prediction.predictor import Predictor
from cxrlens.runs import open_model
from cxrlens.serving.api import create_app
from cxrlens.serving.door import TOKEN_VARIABLE, need_token, read_token
from cxrlens.serving.limits import Limits
from cxrlens.serving.tls import listening

_LEVELS = {
    "cxrlens.serving": "INFO",
    "uvicorn": "WARNING",
    # Its access log writes paths and addresses; the form parser's repeats what was sent.
    "uvicorn.access": "CRITICAL",
    "python_multipart": "CRITICAL",
}

_SPARE_HANDLES = 48
"""For the processes that decode, and for what Python opens for itself."""

_ACCEPTED_IN_A_ROW = 4
_MOST = 1000
_GRACE_SECONDS, _END_SECONDS = 4.0, 8.0
"""Seconds that a client's answer may take once the server was told to end, and when it ends in any case."""

_log = logging.getLogger("cxrlens.serving")


def serve(
    model: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    token_file: Path | None = None,
    limits: Limits | None = None,
    device: str = "cpu",
    site: Path | None = None,
    hosts: Iterable[str] = (),
    origins: Iterable[str] = (),
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Serve a model until the process is told to stop.

    Parameters
    ----------
    model
        A run folder, or an exported bundle.
    host, port
        Where to listen; port 0 takes a free one.
    token_file
        Holds the token that requests must bear; without it the environment's ``CXRLENS_TOKEN``.
    limits
        What is taken on.
    device
        Where the network runs.
    site
        A file of ``cxrlens calibrate``, or None.
    hosts, origins
        See `cxrlens.serving.door.Guard`.
    certificate, key
        PEM files for TLS.

    Raises
    ------
    CxrlensError
        If others can reach the address and there is no token, the model cannot be loaded, the address is
        taken, or the TLS files are none.
    """
    token = read_token(token_file, os.environ.get(TOKEN_VARIABLE))
    need_token(host, token)
    if (certificate is None) != (key is None):
        raise CxrlensError("TLS needs both files: --tls-certificate and --tls-key")
    if certificate and key:
        listening(certificate, key)  # faults now, not at the first visitor
    _open_log()
    limits = limits or Limits()
    saved = open_model(model)
    predictor = Predictor.of(saved, device, site=site)
    card = card_of(saved).model_copy(
        update={
            "calibrated": predictor.trust.calibrated,
            "site": predictor.trust.site,
            **({"scores": predictor.trust.histogram} if predictor.trust.histogram else {}),
        }
    )
    bound = _bind(host, port)
    app = create_app(
        predictor,
        card,
        limits,
        token,
        hosts=hosts,
        origins=origins,
        secure=certificate is not None,
    )
    server = Server(app, bound, limits, certificate, key)
    scheme = "https" if certificate else "http"
    name = f"[{host}]" if ":" in host else host
    _log.info(
        "%s (%s) at %s://%s:%d%s", card.name, card.digest, scheme, name, bound.getsockname()[1],
        ", token needed" if token else "",
    )  # fmt: skip
    server.run()


def _open_log() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in _LEVELS.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except socket.gaierror as error:
        raise CxrlensError(
            f"{host} is no address of this machine ({error.strerror}): choose another with --host"
        ) from error
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CxrlensError(
            f"{host} port {port} cannot be listened on ({reason}): choose another with --port"
        ) from error
    return bound


def most_connections() -> int:
    """Return how many connections leave enough of this process's file handles for everything else."""
    try:
        import resource
    except ImportError:  # Windows counts none
        return _MOST
    handles, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if handles == resource.RLIM_INFINITY:
        return _MOST
    free = handles - len(os.listdir("/dev/fd"))
    return max(1, min(_MOST, free - min(_SPARE_HANDLES, free // 2)))


class Connection(H11Protocol):
    """One HTTP connection; see the module.

    Parameters
    ----------
    limits
        How long a head may take to come, and a client to take its answer.
    most
        Connections at once; beyond it the one that has been silent longest is closed.
    """

    def __init__(self, limits: Limits, most: int, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._limits, self._most = limits, most
        self._head: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self.silent_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head; make room for it."""
        super().connection_made(transport)
        self.silent_since = time.monotonic()
        self._await_head()
        if len(self.connections) > self._most:
            self._make_room()

    def _make_room(self) -> None:
        silent = [
            one
            for one in self.connections
            if isinstance(one, Connection) and one.silent_since and not one.transport.is_closing()
        ]
        # There is one at least, ourselves; `close` would wait for what it has not taken yet.
        min(silent, key=lambda one: one.silent_since or 0.0).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop(self._head)
        self._stop(self._reading)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; the clock of a head runs from its first byte, and bytes do not put it back."""
        if self._is_waiting() and self._head is None:
            self._await_head()
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for another request."""
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """Hang up on a client that does not take its answer."""
        super().pause_writing()
        self._stop(self._reading)
        self._reading = self.loop.call_later(self._limits.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._stop(self._reading)

    def _is_waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _look(self) -> None:
        if not self._is_waiting():
            self._stop(self._head)
            self._head = self.silent_since = None
        elif self.silent_since is None:
            self.silent_since = time.monotonic()

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self._limits.head_seconds, self.transport.close)

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


class Server(uvicorn.Server):
    """uvicorn, with connections of ours, and an end that no film can put off.

    Parameters
    ----------
    app
        What answers.
    bound
        The socket to listen on.
    limits
        What is taken on.
    certificate, key
        PEM files for TLS.
    """

    def __init__(
        self,
        app: Any,
        bound: socket.socket,
        limits: Limits,
        certificate: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_keep_alive=max(1, round(limits.idle_seconds)),
            timeout_graceful_shutdown=round(_GRACE_SECONDS),
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        super().__init__(config)
        self._bound, self._limits = bound, limits
        bound.listen(config.backlog)  # from here on nobody is turned away

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; uvicorn itself would give a TLS handshake a minute."""
        await super().startup(sockets=[])
        secure, limits, most = self.config.ssl, self._limits, most_connections()
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(
                limits,
                most,
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            ),
            sock=self._bound,
            ssl=secure,
            ssl_handshake_timeout=limits.head_seconds if secure else None,
            # So many are accepted in a row before the first of them can be closed.
            backlog=_ACCEPTED_IN_A_ROW,
        )
        self._bound.listen(self.config.backlog)
        self.servers.append(server)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End, in a few seconds, whatever a thread is still decoding: nobody waits for it any more."""
        if not self.should_exit:
            end = threading.Timer(_END_SECONDS, _exit_at_once, (128 + sig,))
            end.daemon = True
            end.start()
        super().handle_exit(sig, frame)


def _exit_at_once(status: int) -> None:
    _log.warning("ended while a film was still worked on")
    os._exit(status)
