"""The model at work behind the routes: decode, predict in batches, explain; nothing is kept."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request

from cxrlens.errors import CxrlensError, FilmError
from cxrlens.explanation.heatmap import HeatMap
from cxrlens.explanation.methods import method_named
from cxrlens.prediction.predictor import Prediction, Predictor
from cxrlens.radiographs.read import decode_radiograph
from cxrlens.serving.batching import Batcher
from cxrlens.serving.card import ModelCard
from cxrlens.serving.jobs import Job, Jobs, Progress
from cxrlens.serving.limits import Limits, Places
from cxrlens.serving.measures import Measures
from cxrlens.serving.upload import Upload, UploadError, read_upload

T = TypeVar("T")

_DECODERS = 2
_SWEEP_SECONDS = 5.0


class ClientGoneError(Exception):
    """The client hung up: nobody waits for the answer."""


class Service:
    """A model and everything that works on its behalf.

    Parameters
    ----------
    predictor
        The model.
    card
        What is known of it.
    limits
        What is taken on.
    """

    def __init__(self, predictor: Predictor, card: ModelCard, limits: Limits) -> None:
        self.predictor, self.card, self.limits = predictor, card, limits
        self.measures = Measures(card)
        self.places = Places(limits.queue)
        self.measures.places.set_function(lambda: self.places.taken)
        self._batcher = Batcher(predictor.predict_many, limits.batch, self.measures.batches.observe)
        self._decoders = ThreadPoolExecutor(_DECODERS, "cxrlens-decode")
        self._explainer = ThreadPoolExecutor(1, "cxrlens-explain")
        self.jobs = Jobs(explain, limits)

    @property
    def waiting(self) -> int:
        """Decoded films that wait for the network."""
        return self._batcher.waiting

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweep old jobs while the server runs; stop every thread at its end."""
        sweeping = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.to_thread(self.close)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.jobs.sweep()

    def close(self) -> None:
        """Finish what is in the network and stop."""
        self.jobs.close()
        self._batcher.close()
        self._decoders.shutdown(cancel_futures=True)
        self._explainer.shutdown(cancel_futures=True)

    async def read(self, request: Request) -> Upload:
        """Read a request's form within the limits.

        Raises
        ------
        UploadError
            If it is broken, too large or too slow, or has no film.
        ClientGoneError
            If the client hung up meanwhile.
        """
        content_type = request.headers.get("content-type", "")
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self.limits.request_bytes:
            raise UploadError(413, f"the request has more than {self.limits.request_bytes:,} bytes")
        try:
            async with asyncio.timeout(self.limits.upload_seconds):
                upload = await read_upload(content_type, request.stream(), self.limits)
        except TimeoutError as error:
            raise UploadError(
                408, f"the upload took more than {self.limits.upload_seconds:.0f} s"
            ) from error
        except ClientDisconnect as error:
            raise ClientGoneError from error
        if not upload.films:
            raise UploadError(400, "the form holds no film: send one as a file, field 'film'")
        return upload

    async def read_one(self, request: Request) -> tuple[bytes, dict[str, str]]:
        """Read a form of one film, as `read`; give the film and the other fields.

        Raises
        ------
        UploadError
            As `read`, and if there are more films.
        """
        upload = await self.read(request)
        if len(upload.films) > 1:
            raise UploadError(
                400, "this takes one film at a time: send each in a request of its own"
            )
        return upload.films[0][1], upload.fields

    async def decode(self, data: bytes, name: str) -> NDArray[np.uint8]:
        """Decode a film in a thread; see `cxrlens.radiographs.read.decode_radiograph`."""
        work = partial(decode_radiograph, data, name, self.limits.film_pixels)
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)

    async def predict(self, data: bytes, name: str) -> Prediction:
        """Decode a film and predict it together with those that wait beside it.

        Raises
        ------
        FilmError
            If it cannot be read; the sentence calls it `name`.
        """
        try:
            film = await self.decode(data, name)
            prediction = await asyncio.wrap_future(self._batcher.submit(film))
        except FilmError:
            self.measures.unread.inc()
            raise
        found = [defect for defect, present in prediction.findings.items() if present]
        self.measures.count_film(prediction.predicted, prediction.probabilities, found)
        return prediction

    def check(self, method: str | None, target: str | None) -> None:
        """Refuse a method or class that the model does not know, before any work.

        Raises
        ------
        CxrlensError
            If it is unknown.
        """
        if method:
            method_named(method)
        if target is not None and target not in self.predictor.classes:
            known = ", ".join(self.predictor.classes)
            raise CxrlensError(f"unknown class {target!r}: the model knows {known}")

    async def explain(self, prediction: Prediction, method: str, target: str) -> HeatMap:
        """Explain by a quick method."""
        work = partial(explain, prediction, method, target, _unwatched)
        return await asyncio.get_running_loop().run_in_executor(self._explainer, work)

    def start(self, prediction: Prediction, method: str, target: str) -> Job:
        """Explain by a slow method, as a job."""
        return self.jobs.start(prediction, method, target)

    async def unless_gone(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """Do work for a client while it waits, within the time of an answer.

        Raises
        ------
        ClientGoneError
            If it hung up; the work is cancelled.
        TimeoutError
            If the time is over.
        """
        task = asyncio.create_task(work)
        watch = asyncio.create_task(_hung_up(request))
        try:
            await asyncio.wait(
                {task, watch},
                timeout=self.limits.answer_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if task.done():
                return task.result()
            raise ClientGoneError if watch.done() else TimeoutError
        finally:
            for one in (task, watch):
                one.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)


def explain(prediction: Prediction, method: str, target: str, progress: Progress) -> HeatMap:
    """Explain a prediction, telling of each step."""
    return prediction.explain(method, target, progress=progress)


def _unwatched(done: int, of: int) -> None:
    """Let a quick method go on."""


async def _hung_up(request: Request) -> None:
    receive: Callable[[], Coroutine[Any, Any, Any]] = request.receive  # type: ignore[assignment]
    while (await receive())["type"] != "http.disconnect":
        pass
