"""The model at work behind the routes: decode, predict in batches, explain; nothing is kept."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request

from cxrlens.errors import CxrlensError, FilmError
from cxrlens.evaluation.card import ModelCard
from cxrlens.explanation.heatmap import HeatMap
from cxrlens.explanation.methods import method_named
from cxrlens.prediction.predictor import Prediction, Predictor
from cxrlens.progress import Progress
from cxrlens.radiographs.decoding import decoders
from cxrlens.radiographs.read import decode_film_apart
from cxrlens.serving.answers import within
from cxrlens.serving.jobs import Jobs
from cxrlens.serving.limits import Limits, Places
from cxrlens.serving.prometheus import Measures
from cxrlens.serving.upload import Upload, UploadError, read_upload

Film = NDArray[np.uint8]
PredictMany = Callable[[list[Film]], Iterable[Prediction | FilmError]]


class _Item:
    """A film that waits, and who waits for it; let go of as soon as nobody does."""

    def __init__(self, film: Film) -> None:
        self.film: Film | None = film
        self.future: Future[Prediction] = Future()
        self.future.add_done_callback(self._let_go)

    def _let_go(self, future: "Future[Prediction]") -> None:
        self.film = None


class Batcher:
    """Predict films of many requests in few calls.

    Parameters
    ----------
    predict_many
        Predicts a list of films (H, W) uint8, one result each, in order. Only the worker calls it.
    batch
        Films of one call at most.
    observe
        Told the size of each batch.
    """

    def __init__(
        self,
        predict_many: PredictMany,
        batch: int = 16,
        observe: Callable[[int], None] = lambda films: None,
    ) -> None:
        self._predict_many, self._batch, self._observe = predict_many, batch, observe
        self._waiting: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._work, name="cxrlens-batches", daemon=True)
        self._worker.start()

    def submit(self, film: Film) -> "Future[Prediction]":
        """Put a film into the queue.

        Returns
        -------
        Future of Prediction
            Cancelled before its turn, the film is let go and never reaches the network.
        """
        item = _Item(film)
        self._waiting.put(item)
        return item.future

    @property
    def waiting(self) -> int:
        """Films that wait for their batch."""
        return self._waiting.qsize()

    def close(self) -> None:
        """Predict what waits, then stop."""
        self._waiting.put(None)
        self._worker.join()

    def _work(self) -> None:
        while self._answer_next():
            pass

    def _answer_next(self) -> bool:
        """Predict the next batch; False at the end. Films live no longer than the call."""
        items = [self._waiting.get()]
        while items[-1] is not None and len(items) < self._batch:
            try:
                items.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        goes_on = items[-1] is not None
        wanted = [item for item in items if item and item.future.set_running_or_notify_cancel()]
        films = [item.film for item in wanted if item.film is not None]
        if films:
            self._observe(len(films))
            self._answer(films, [item.future for item in wanted])
        return goes_on

    def _answer(self, films: list[Film], futures: Sequence["Future[Prediction]"]) -> None:
        try:
            outcomes = list(self._predict_many(films))
        except BaseException as error:  # noqa: BLE001 - it belongs to those who wait, not to the worker
            for future in futures:
                future.set_exception(error)
            return
        for future, outcome in zip(futures, outcomes, strict=True):
            if isinstance(outcome, FilmError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


T = TypeVar("T")

_DECODERS = 4
"""Films decoded at once: more than processors, so that a slow one does not hold up the others."""

_SWEEP_SECONDS = 5.0
_ROOM_SECONDS = 0.02

SHOWN_SIDE = 2048
"""Pixels of the longer side of films that are explained: their maps take five bytes a pixel."""


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
        self.uploads = Places(self.limits.upload_bytes)
        self.decoded = Places(self.limits.decoded_bytes)
        self.measures.count_bytes("uploads", lambda: self.uploads.taken)
        self.measures.count_bytes("decoded", lambda: self.decoded.taken)
        self._batcher = Batcher(predictor.predict_many, limits.batch, self.measures.batches.observe)
        self._decoders = ThreadPoolExecutor(_DECODERS, "cxrlens-decode")
        self._decoding = asyncio.Semaphore(_DECODERS)
        self._explainer = ThreadPoolExecutor(1, "cxrlens-explain")
        self._painter = ThreadPoolExecutor(1, "cxrlens-draw")
        self.jobs = Jobs(explain, limits)
        self.measures.count_bytes("kept", lambda: self.jobs.kept)

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
        decoders.end()
        self._decoders.shutdown(cancel_futures=True)
        self._explainer.shutdown(cancel_futures=True)
        self._painter.shutdown(cancel_futures=True)

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[Upload]:
        """Read a request's form within the limits; its bytes count as held until the block ends.

        Raises
        ------
        UploadError
            If it is broken, too large or too slow, or has no film.
        BusyError
            If the uploads that are there leave no room for it.
        ClientGoneError
            If the client hung up meanwhile.
        """
        content_type = request.headers.get("content-type", "")
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self.limits.request_bytes:
            raise UploadError(413, f"the request has more than {self.limits.request_bytes:,} bytes")
        with self.uploads.hold(0) as arriving:
            try:
                async with asyncio.timeout(self.limits.upload_seconds):
                    upload = await read_upload(
                        content_type, request.stream(), self.limits, arriving
                    )
            except TimeoutError as error:
                raise UploadError(
                    408, f"the upload took more than {self.limits.upload_seconds:.0f} s"
                ) from error
            except ClientDisconnect as error:
                raise ClientGoneError from error
            if not upload.films:
                raise UploadError(400, "the form holds no film: send one as a file, field 'film'")
            yield upload

    @contextlib.asynccontextmanager
    async def read_one(self, request: Request) -> AsyncIterator[tuple[bytes, dict[str, str]]]:
        """Read a form of one film, as `read`; give the film and the other fields.

        Raises
        ------
        UploadError
            As `read`, and if there are more films.
        """
        async with self.read(request) as upload:
            if len(upload.films) > 1:
                raise UploadError(
                    400, "this takes one film at a time: send each in a request of its own"
                )
            yield upload.films[0][1], upload.fields

    @contextlib.asynccontextmanager
    async def decode(self, data: bytes, name: str) -> AsyncIterator[NDArray[np.uint8]]:
        """Decode a film in a process apart when there is room for it; see `decode_film_apart`.

        Its pixels count as held until the block ends. One that cannot be read is counted, whichever route
        it came by.
        """
        await self._decoding.acquire()
        try:
            while self.decoded.is_full:
                await asyncio.sleep(_ROOM_SECONDS)
        except BaseException:
            self._decoding.release()
            raise
        loop = asyncio.get_running_loop()
        work = partial(decode_film_apart, data, name, self.limits.film_pixels)
        decoding = self._decoders.submit(work)

        def end(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the server is over
                loop.call_soon_threadsafe(self._decoding.release)

        # Not when its client goes: a film that is being decoded cannot be stopped from here.
        decoding.add_done_callback(end)
        try:
            film = await asyncio.wrap_future(decoding)
        except FilmError:
            self.measures.unread.inc()
            raise
        with self.decoded.hold(film.nbytes, beyond=True):
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
                prediction = await asyncio.wrap_future(self._batcher.submit(film))
            except FilmError:
                self.measures.unread.inc()
                raise
            found = [defect for defect, present in prediction.findings.items() if present]
            self.measures.count_film(prediction.predicted, prediction.probabilities, found)
            yield prediction

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

    async def draw(self, make: Callable[[], T]) -> T:
        """Make a picture in a thread, one at a time: each takes many times its pixels."""
        return await asyncio.get_running_loop().run_in_executor(self._painter, make)

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


def explain(prediction: Prediction, method: str, target: str, progress: Progress) -> HeatMap:
    """Explain a prediction, telling of each step."""
    return prediction.explain(method, target, progress=progress)


def _unwatched(done: int, of: int) -> None:
    """Let a quick method go on."""


async def _hung_up(request: Request) -> None:
    receive: Callable[[], Coroutine[Any, Any, Any]] = request.receive  # type: ignore[assignment]
    while (await receive())["type"] != "http.disconnect":
        pass
