"""The model at work behind the routes: decode, predict in few calls, explain in jobs that can be given up."""

import asyncio
import contextlib
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from cxrlens.errors import CxrlensError, FilmError
from cxrlens.evaluation.card import ModelCard
from cxrlens.explanation.heatmap import HeatMap
from cxrlens.prediction.predictor import Prediction, Predictor
from cxrlens.radiographs.decoding import decoders
from cxrlens.radiographs.read import ReadFilm, decode_film_apart
from cxrlens.serving.answers import Status, verdict, within
from cxrlens.serving.door import HUNG_UP, Counters
from cxrlens.serving.limits import BusyError, Limits, Places, Upload, read_upload

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


PredictMany = Callable[[list[ReadFilm]], Iterable[Prediction | FilmError]]
T = TypeVar("T")

_DECODERS = 4
"""Films decoded at once: more than processors, so that a slow one does not hold up the others."""

_SWEEP_SECONDS = 5.0
_ROOM_SECONDS = 0.02

SHOWN_SIDE = 2048
"""Pixels of the longer side of films that are explained: their maps take five bytes a pixel."""


class ClientGoneError(HTTPException):
    """The client hung up: nobody waits for the answer."""

    def __init__(self) -> None:
        super().__init__(HUNG_UP, "the client hung up")


class Batcher:
    """Predict films of many requests in few calls of the network, one call at a time.

    While one call runs, films gather for the next: nobody waits for others to come, and the busier the
    server, the larger its calls.

    Parameters
    ----------
    predict_many
        Predicts a list of films (H, W) uint8, one result each, in order.
    batch
        Films of one call at most.
    observe
        Told the size of each call.
    """

    def __init__(
        self,
        predict_many: PredictMany,
        batch: int = 16,
        observe: Callable[[int], object] = lambda films: None,
    ) -> None:
        self._predict_many, self._batch, self._observe = predict_many, batch, observe
        self._films: dict[asyncio.Future[Prediction], ReadFilm] = {}
        self._thread = ThreadPoolExecutor(1, "cxrlens-network")
        self._calls: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Films that wait for their call."""
        return len(self._films)

    async def predict(self, film: ReadFilm) -> Prediction:
        """Predict a film; cancelled before its turn, it is let go and never reaches the network.

        Raises
        ------
        FilmError
            If it cannot be predicted.
        """
        future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self._films[future] = film
        del film  # the queue holds it, and nobody else
        if self._calls is None or self._calls.done():
            self._calls = asyncio.create_task(self._call())
        try:
            return await future
        finally:
            self._films.pop(future, None)

    async def _call(self) -> None:
        while self._films:
            futures = list(islice(self._films, self._batch))
            films = [self._films.pop(future) for future in futures]
            self._observe(len(films))
            outcomes: list[Prediction | Exception]
            try:
                loop = asyncio.get_running_loop()
                outcomes = await loop.run_in_executor(self._thread, self._outcomes, films)
            except Exception as error:  # noqa: BLE001 - it belongs to those who wait, not to the queue
                outcomes = [error] * len(futures)
            for future, outcome in zip(futures, outcomes, strict=True):
                if future.cancelled():
                    continue
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)
            del futures, films, outcomes

    def _outcomes(self, films: list[ReadFilm]) -> list[Prediction | Exception]:
        return list(self._predict_many(films))

    def close(self) -> None:
        """Finish the call that runs, then stop."""
        self._thread.shutdown(cancel_futures=True)


class Engine:
    """A model and everything that works on its behalf.

    Parameters
    ----------
    predictor, card
        The model, and what is known of it.
    limits
        What is taken on.

    Attributes
    ----------
    places, uploads, decoded
        Films in the server, bytes of uploads, bytes of decoded films.
    counters, jobs, batcher
        See there.
    """

    def __init__(self, predictor: Predictor, card: ModelCard, limits: Limits) -> None:
        self.predictor, self.card, self.limits = predictor, card, limits
        self.places, self.uploads = Places(limits.queue), Places(limits.upload_bytes)
        self.decoded, self.jobs = Places(limits.decoded_bytes), Jobs(limits)
        self.counters = counters = Counters(card)
        counters.places.set_function(lambda: self.places.taken)
        counters.held.labels("uploads").set_function(lambda: self.uploads.taken)
        counters.held.labels("decoded").set_function(lambda: self.decoded.taken)
        counters.held.labels("kept").set_function(lambda: self.jobs.kept)
        self.batcher = Batcher(predictor.predict_many, limits.batch, counters.batches.observe)
        self._decoders = ThreadPoolExecutor(_DECODERS, "cxrlens-decode")
        self._explainer = ThreadPoolExecutor(1, "cxrlens-explain")
        self._painter = ThreadPoolExecutor(1, "cxrlens-draw")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweep old jobs while the server runs; stop every thread at its end."""
        sweeping = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.to_thread(self._close)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.jobs.sweep()

    def _close(self) -> None:
        self.jobs.close()
        self.batcher.close()
        decoders.end()
        for threads in (self._decoders, self._explainer, self._painter):
            threads.shutdown(cancel_futures=True)

    @contextlib.asynccontextmanager
    async def read(self, request: Request, most: int | None = None) -> AsyncIterator[Upload]:
        """Read a request's form within the limits; its films and bytes count as held until the block ends.

        Parameters
        ----------
        request
            As it comes.
        most
            Films that this route takes; default those of the limits.

        Raises
        ------
        HTTPException
            If it is broken, too large or too slow, or has no film or too many.
        BusyError
            If what is there leaves no room for it.
        ClientGoneError
            If the client hung up meanwhile.
        """
        head, limits = request.headers, self.limits
        declared = head.get("content-length", "")
        with self.places.hold() as more_places, self.uploads.hold(0) as arriving:
            if declared.isdigit() and int(declared) > limits.request_bytes:
                raise HTTPException(
                    413, f"the request has more than {limits.request_bytes:,} bytes"
                )
            try:
                async with asyncio.timeout(limits.upload_seconds):
                    kind = head.get("content-type", "")
                    upload = await read_upload(kind, request.stream(), limits, arriving)
            except TimeoutError as error:
                sentence = f"the upload took more than {limits.upload_seconds:.0f} s"
                raise HTTPException(408, sentence) from error
            except ClientDisconnect as error:
                raise ClientGoneError from error
            if not upload.films:
                raise HTTPException(400, "the form holds no film: send one as a file, field 'film'")
            if most is not None and len(upload.films) > most:
                sentence = "this takes one film at a time: send each in a request of its own"
                raise HTTPException(400, sentence)
            more_places(len(upload.films) - 1)
            yield upload

    async def while_waited_for(self, request: Request, work: Awaitable[T]) -> T:
        """Do work for a client while it waits, within the time of an answer; else the work is cancelled.

        Raises
        ------
        ClientGoneError
            If it hung up.
        HTTPException
            With status 504 if the time is over.
        """
        task, watch = asyncio.ensure_future(work), asyncio.create_task(_hung_up(request))
        try:
            seconds, first = self.limits.answer_seconds, asyncio.FIRST_COMPLETED
            await asyncio.wait({task, watch}, timeout=seconds, return_when=first)
            if task.done():
                return task.result()
            if watch.done():
                raise ClientGoneError
            sentence = "the answer took too long: come again later"
            raise HTTPException(504, sentence, {"retry-after": "10"})
        finally:
            for one in (task, watch):
                one.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def decode(self, data: bytes, name: str) -> AsyncIterator[ReadFilm]:
        """Decode a film in a process apart when there is room for it; see `decode_film_apart`.

        Its pixels count as held until the block ends. One that cannot be read is counted, whichever route
        it came by.
        """

        def when_there_is_room() -> ReadFilm:
            # In the decoder's thread: so no more films than decoders pass the check before they count.
            while self.decoded.taken >= self.decoded.count:
                time.sleep(_ROOM_SECONDS)
            return decode_film_apart(data, name, self.limits.film_pixels)

        loop = asyncio.get_running_loop()
        try:
            film = await loop.run_in_executor(self._decoders, when_there_is_room)
        except FilmError:
            self.counters.unread.inc()
            raise
        with self.decoded.hold(film.pixels.nbytes, beyond=True):
            yield film

    @contextlib.asynccontextmanager
    async def predict(self, data: bytes, name: str) -> AsyncIterator[Prediction]:
        """Decode a film and predict it together with those that wait beside it.

        Its pixels count as held until the block ends.

        Raises
        ------
        FilmError
            If it cannot be read; the sentence calls it `name`.
        """
        async with contextlib.AsyncExitStack() as held:
            film = await held.enter_async_context(self.decode(data, name))
            try:
                prediction = await self.batcher.predict(film)
            except FilmError:
                self.counters.unread.inc()
                _log.exception("a film that was read could not be worked on")
                raise
            self.counters.count(prediction)
            yield prediction

    async def explain(self, prediction: Prediction, method: str, target: str) -> HeatMap:
        """Explain by a quick method."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._explainer, prediction.explain, method, target)

    async def draw(self, make: Callable[[], T]) -> T:
        """Make a picture in a thread, one at a time: each takes many times its pixels."""
        return await asyncio.get_running_loop().run_in_executor(self._painter, make)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def to_show(prediction: Prediction) -> Prediction:
    """Shrink a prediction's film to what an explanation is drawn on, at most `SHOWN_SIDE` pixels a side."""
    film = prediction.film
    assert film is not None
    shown = within(film, SHOWN_SIDE)
    if shown is film:
        return prediction
    scale = max(shown.shape) / max(film.shape)
    top, bottom, left, right = (round(scale * edge) for edge in prediction.examination.cropped)
    examination = replace(prediction.examination, cropped=(top, bottom, left, right))
    return replace(prediction, film=shown, examination=examination)
