"""Limits of the server: what a request may bring, how many are at work, how long one may be silent."""

import asyncio
import logging
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cxrlens.errors import CxrlensError

_MIB = 1024 * 1024
_BETWEEN = 65536
"""Bytes of a form beside its films."""

LEAST_MEMORY = 128 * _MIB
"""A quarter of it holds any map that the server makes."""


@dataclass(frozen=True)
class Limits:
    """What the server takes on.

    Attributes
    ----------
    film_bytes
        Bytes of one uploaded film; the upload is cut off beyond it.
    film_pixels
        Pixels of one film; a film with more is refused before it is decoded.
    films
        Films of one request.
    queue
        Films in the server at once, from the first byte of their upload to their answer. Beyond it a
        request is told when to come again.
    batch
        Films of one call of the network.
    upload_seconds, answer_seconds
        How long an upload may take, and how long one may wait for its answer.
    jobs
        Slow explanations that wait or run.
    job_idle_seconds, job_kept_seconds
        A job that nobody asks for is given up after the one; a finished job's map is forgotten after
        the other.
    memory
        Bytes that the server holds for its clients: a quarter for uploads from their first byte to their
        answer, a half for decoded films, a quarter for the maps of finished jobs. The model and the work
        on a film itself come on top.
    head_seconds, idle_seconds
        How long a request's head may take to come, and how long a connection may stay without a request
        after an answer.

    Raises
    ------
    CxrlensError
        If `memory` has no room for a single film.
    """

    film_bytes: int = 64 * 1024 * 1024
    film_pixels: int = 50_000_000
    films: int = 16
    queue: int = 32
    batch: int = 16
    upload_seconds: float = 60.0
    answer_seconds: float = 60.0
    jobs: int = 8
    job_idle_seconds: float = 30.0
    job_kept_seconds: float = 300.0
    memory: int = 1024 * _MIB
    head_seconds: float = 10.0
    idle_seconds: float = 10.0

    def __post_init__(self) -> None:
        most = max(4 * (self.film_bytes + _BETWEEN), 2 * self.film_pixels, LEAST_MEMORY)
        if self.memory < most:
            raise CxrlensError(
                f"{self.memory // _MIB} MB have no room for the largest film: set --memory to "
                f"{math.ceil(most / _MIB)} or more, or lower --max-megabytes and --max-megapixels"
            )

    @property
    def request_bytes(self) -> int:
        """Bytes of a whole request: its films, and a little for what stands between them."""
        return min(self.films * (self.film_bytes + 4096) + _BETWEEN, self.upload_bytes)

    @property
    def upload_bytes(self) -> int:
        """Bytes of all uploads that are not answered yet."""
        return self.memory // 4

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all decoded films that wait for the network or are in it."""
        return self.memory // 2

    @property
    def kept_bytes(self) -> int:
        """Bytes of all maps of finished jobs."""
        return self.memory // 4


class BusyError(Exception):
    """The server has as many films in work as it may.

    Attributes
    ----------
    seconds
        When to come again, in whole seconds.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the server is busy: come again in {seconds} s")
        self.seconds = seconds


class Places:
    """Places for films, or for their bytes, counted: who finds none free is turned away at once.

    Parameters
    ----------
    count
        How many there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0
        self._lock = threading.Lock()
        self._freed: deque[tuple[float, int]] = deque(maxlen=32)

    @property
    def is_full(self) -> bool:
        """Whether none is free."""
        return self.taken >= self.count

    @contextmanager
    def hold(self, places: int = 1, beyond: bool = False) -> Iterator[Callable[[int], None]]:
        """Hold places for as long as the block runs, however it ends.

        Parameters
        ----------
        places
            How many, to begin with.
        beyond
            Whether more than there are may be taken: for what is there already, and must be counted.

        Yields
        ------
        function
            Takes so many more; they are given back with the others.

        Raises
        ------
        BusyError
            If fewer are free.
        """
        held = 0

        def take(more: int) -> None:
            nonlocal held
            with self._lock:
                if self.taken + more > self.count and not beyond:
                    raise BusyError(self._wait())
                self.taken += more
                held += more

        take(places)
        try:
            yield take
        finally:
            with self._lock:
                self.taken -= held
                self._freed.append((time.monotonic(), held))

    def _wait(self) -> int:
        """Guess from the last answers how long half of the places take, 1 to 30 s."""
        freed = sum(places for _, places in self._freed)
        if len(self._freed) < 2 or not freed:
            return 1
        pace = (time.monotonic() - self._freed[0][0]) / freed
        return min(30, max(1, math.ceil(pace * self.count / 2)))


_SPARE_HANDLES = 48
"""For the processes that decode, and for what Python opens for itself."""

_ACCEPTED_IN_A_ROW = 4
_MOST = 1000
_GRACE_SECONDS, _END_SECONDS = 4.0, 8.0
"""What a client's answer may take once the server was told to end, and when it ends in any case."""

_log = logging.getLogger("cxrlens.serving")


def most_connections() -> int:
    """Say how many connections leave enough of this process's file handles for everything else."""
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
            (one.silent_since, number, one)
            for number, one in enumerate(self.connections)
            if isinstance(one, Connection)
            and one.silent_since is not None
            and not one.transport.is_closing()
        ]
        _, _, longest = min(silent)  # there is one at least, ourselves
        longest.transport.abort()

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
        secure = self.config.ssl
        server = await asyncio.get_running_loop().create_server(
            self._connection(),
            sock=self._bound,
            ssl=secure,
            ssl_handshake_timeout=self._limits.head_seconds if secure else None,
            # So many are accepted in a row before the first of them can be closed.
            backlog=_ACCEPTED_IN_A_ROW,
        )
        self._bound.listen(self.config.backlog)
        self.servers.append(server)

    def _connection(self) -> Callable[[], Connection]:
        most = most_connections()
        return lambda: Connection(
            self._limits,
            most,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End, in a few seconds, whatever a thread is still decoding: nobody waits for it any more."""
        if not self.should_exit:
            end = threading.Timer(_END_SECONDS, _end, (128 + sig,))
            end.daemon = True
            end.start()
        super().handle_exit(sig, frame)


def _end(status: int) -> None:
    _log.warning("ended while a film was still worked on")
    os._exit(status)
