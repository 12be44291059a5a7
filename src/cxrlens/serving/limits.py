"""Limits of the server: what one request may bring, how many are in work at once, and in how many bytes."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
