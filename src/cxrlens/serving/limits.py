"""Limits of the server: what one request may bring, and how many are in work at once."""

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


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

    @property
    def request_bytes(self) -> int:
        """Bytes of a whole request: its films, and a little for what stands between them."""
        return self.films * (self.film_bytes + 4096) + 65536


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
    """Places for films, counted: who finds none free is turned away at once.

    Parameters
    ----------
    count
        How many there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0
        self._lock = threading.Lock()
        self._freed: deque[float] = deque(maxlen=32)

    @contextmanager
    def hold(self, places: int = 1) -> Iterator[None]:
        """Hold places for as long as the block runs.

        Raises
        ------
        BusyError
            If fewer are free.
        """
        with self._lock:
            if self.taken + places > self.count:
                raise BusyError(self._wait())
            self.taken += places
        try:
            yield
        finally:
            with self._lock:
                self.taken -= places
                self._freed.extend([time.monotonic()] * min(places, 32))

    def _wait(self) -> int:
        """Guess from the last answers how long half of the places take, 1 to 30 s."""
        if len(self._freed) < 2:
            return 1
        pace = (time.monotonic() - self._freed[0]) / len(self._freed)
        return min(30, max(1, math.ceil(pace * self.count / 2)))
