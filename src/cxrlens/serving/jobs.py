"""Slow explanations: one at a time in a thread of their own, with progress, and given up when asked.

A job's map lives in memory only, for a few minutes, or until newer ones need its room; a job whose
client stopped asking is given up.
"""

import logging
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from cxrlens.errors import CxrlensError
from cxrlens.explanation.heatmap import HeatMap
from cxrlens.prediction.predictor import Prediction
from cxrlens.serving.answers import Status, verdict
from cxrlens.serving.limits import BusyError, Limits

_log = logging.getLogger("cxrlens.serving")


class CancelledJobError(Exception):
    """Raised into an explanation that nobody wants any more."""


@dataclass
class Job:
    """One slow explanation.

    Attributes
    ----------
    prediction
        With its film, until the job ends.
    said
        The verdict on the film; it stays.
    heat
        The map, as long as it is kept.
    asked
        When somebody last asked for the job.
    """

    prediction: Prediction | None
    method: str
    target: str
    said: dict[str, Any]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: Status = "waiting"
    done: int = 0
    of: int = 0
    error: str | None = None
    heat: HeatMap | None = None
    asked: float = field(default_factory=time.monotonic)

    @property
    def open(self) -> bool:
        """Whether it waits or runs."""
        return self.status in ("waiting", "running")

    @property
    def kept(self) -> int:
        """Bytes of the map that is kept."""
        return self.heat.values.nbytes + self.heat.film.nbytes if self.heat else 0

    def drop(self) -> None:
        """Give the job up, and forget what it made."""
        if self.open:
            self.status = "cancelled"
        self.heat = self.prediction = None


class Jobs:
    """All jobs of a server.

    Parameters
    ----------
    limits
        How many wait, how long one is kept, and the bytes of all maps.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "cxrlens-jobs")

    def start(self, prediction: Prediction, method: str, target: str) -> Job:
        """Queue an explanation.

        Raises
        ------
        BusyError
            If as many wait or run as may.
        """
        job = Job(prediction, method, target, verdict(prediction))
        with self._lock:
            if sum(other.open for other in self._jobs.values()) >= self._limits.jobs:
                raise BusyError(10)
            self._jobs[job.id] = job
        self._thread.submit(self._run, job)
        return job

    def get(self, name: str) -> Job | None:
        """Find a job by its id, and note that somebody asked."""
        with self._lock:
            job = self._jobs.get(name)
            if job is not None:
                job.asked = time.monotonic()
            return job

    @property
    def kept(self) -> int:
        """Bytes of the maps that are kept."""
        return sum(job.kept for job in list(self._jobs.values()))

    def cancel(self, name: str) -> Job | None:
        """Give a job up and forget what it made."""
        with self._lock:
            job = self._jobs.get(name)
            if job is not None:
                job.drop()
            return job

    def sweep(self) -> None:
        """Give up jobs that nobody asks for; forget those that are over since long."""
        now = time.monotonic()
        with self._lock:
            for name, job in list(self._jobs.items()):
                idle = now - job.asked
                if job.open and idle > self._limits.job_idle_seconds:
                    job.drop()
                elif not job.open and idle > self._limits.job_kept_seconds:
                    del self._jobs[name]

    def close(self) -> None:
        """Give all jobs up and wait for the running one's next step."""
        with self._lock:
            for job in self._jobs.values():
                job.drop()
        self._thread.shutdown(cancel_futures=True)

    def _run(self, job: Job) -> None:
        def progress(done: int, of: int) -> None:
            with self._lock:
                job.done, job.of = done, of
                if not job.open:
                    raise CancelledJobError

        with self._lock:
            prediction = job.prediction
            if prediction is None:
                return
            job.status = "running"
        heat, fault = None, "the explanation failed: the server's log says why"
        try:
            heat = prediction.explain(job.method, job.target, progress=progress)
            progress(max(job.of, 1), max(job.of, 1))
        except CancelledJobError:
            pass
        except CxrlensError as error:
            fault = str(error)
        except Exception:  # noqa: BLE001 - the thread lives on for the next job
            _log.exception("an explanation by %s failed", job.method)
        with self._lock:
            job.prediction = None
            if job.open and heat is not None:
                job.status, job.heat = "done", heat
            elif job.open:
                job.status, job.error = "failed", fault
            self._make_room()

    def _make_room(self) -> None:
        """Drop the oldest maps beyond the bytes that may be kept."""
        for job in list(self._jobs.values()):  # in the order in which they were started
            if self.kept <= self._limits.kept_bytes:
                return
            if job.heat is not None:
                job.status, job.heat = "failed", None
                job.error = "its map made room for newer ones: explain the film again"
