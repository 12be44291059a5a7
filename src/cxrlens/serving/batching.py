"""One worker thread that predicts for everybody: films that wait together go through the network together.

While one batch is in the network, requests that come meanwhile gather; the next batch takes all of
them, up to its size. A lone film waits for nobody.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import FilmError
from cxrlens.prediction.predictor import Prediction

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
