"""Slow explanations: one at a time in a thread of their own, with progress, and given up when asked.

A job's map lives in memory only, for a few minutes, or until newer ones need its room; a job whose
client stopped asking is given up.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from cxrlens.errors import CxrlensError
from cxrlens.explanation.heatmap import HeatMap
from cxrlens.prediction.predictor import Prediction
from cxrlens.progress import Progress
from cxrlens.serving.limits import BusyError, Limits

Explain = Callable[[Prediction, str, str, Progress], HeatMap]
"""Prediction, method, target, and what to call with steps done and steps in all; a call that raises
ends the explanation."""

Status = Literal["waiting", "running", "done", "failed", "cancelled"]

_log = logging.getLogger("cxrlens.serving")


_DROPPED = "its map made room for newer ones: explain the film again"


class CancelledJobError(Exception):
    """Raised into an explanation that nobody wants any more."""


@dataclass
class Job:
    """One slow explanation.

    Attributes
    ----------
    prediction
        With its film, until the job ends.
    predicted, probabilities
        What the model said; they stay.
    heat
        The map, as long as it is kept.
    """

    prediction: Prediction | None
    method: str
    target: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: Status = "waiting"
    done: int = 0
    of: int = 0
    error: str | None = None
    heat: HeatMap | None = None
    asked: float = field(default_factory=time.monotonic)
    predicted: str = ""
    probabilities: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.prediction is not None:
            self.predicted = self.prediction.predicted
            self.probabilities = self.prediction.probabilities

    @property
    def open(self) -> bool:
        """Whether it waits or runs."""
        return self.status in ("waiting", "running")


class Jobs:
    """All jobs of a server.

    Parameters
    ----------
    explain
        Makes a map; see `Explain`.
    limits
        How many wait, and how long one is kept.
    """

    def __init__(self, explain: Explain, limits: Limits) -> None:
        self._explain, self._limits = explain, limits
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
        job = Job(prediction, method, target)
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
        return sum(_size(job) for job in list(self._jobs.values()))

    def cancel(self, name: str) -> Job | None:
        """Give a job up and forget what it made."""
        with self._lock:
            job = self._jobs.get(name)
            if job is not None:
                self._drop(job)
            return job

    def sweep(self) -> None:
        """Give up jobs that nobody asks for; forget those that are over since long."""
        now = time.monotonic()
        with self._lock:
            for name, job in list(self._jobs.items()):
                idle = now - job.asked
                if job.open and idle > self._limits.job_idle_seconds:
                    self._drop(job)
                elif not job.open and idle > self._limits.job_kept_seconds:
                    del self._jobs[name]

    def close(self) -> None:
        """Give all jobs up and wait for the running one's next step."""
        with self._lock:
            for job in self._jobs.values():
                self._drop(job)
        self._thread.shutdown(cancel_futures=True)

    @staticmethod
    def _drop(job: Job) -> None:
        if job.open:
            job.status = "cancelled"
        job.heat = job.prediction = None

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
        try:
            heat = self._explain(prediction, job.method, job.target, progress)
            progress(max(job.of, 1), max(job.of, 1))
        except CancelledJobError:
            return
        except CxrlensError as error:
            self._fail(job, str(error))
        except Exception:  # noqa: BLE001 - the thread lives on for the next job
            _log.exception("an explanation by %s failed", job.method)
            self._fail(job, "the explanation failed: the server's log says why")
        else:
            with self._lock:
                job.prediction = None
                if job.open:
                    job.status, job.heat = "done", heat
                self._make_room()
        finally:
            job.prediction = None

    def _make_room(self) -> None:
        """Drop the oldest maps beyond the bytes that may be kept."""
        for job in list(self._jobs.values()):  # in the order in which they were started
            if self.kept <= self._limits.kept_bytes:
                return
            if job.heat is not None:
                job.status, job.error, job.heat = "failed", _DROPPED, None

    def _fail(self, job: Job, sentence: str) -> None:
        with self._lock:
            if job.open:
                job.status, job.error = "failed", sentence


def _size(job: Job) -> int:
    heat = job.heat
    return 0 if heat is None else heat.values.nbytes + heat.film.nbytes
