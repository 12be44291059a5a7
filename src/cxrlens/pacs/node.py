"""The node: a receiver, a worker and a courier around one spool, until a signal ends them."""

import logging
import signal
import ssl
import sys
import threading
import warnings
from collections.abc import Callable, Collection
from pathlib import Path

from cxrlens import __version__
from cxrlens.errors import CxrlensError
from cxrlens.pacs.courier import Courier, Destination
from cxrlens.pacs.header import ModelIdentity
from cxrlens.pacs.receiver import Receiver
from cxrlens.pacs.spool import Spool
from cxrlens.pacs.worker import Worker
from cxrlens.prediction import Predictor
from cxrlens.prediction.trust import Trust
from cxrlens.runs import SavedModel

_log = logging.getLogger("cxrlens.pacs")

_TALKATIVE = ("pydicom", "pynetdicom", "highdicom", "dicomweb_client", "urllib3", "retrying")


class Node:
    """A DICOM node with a model behind it.

    Parameters
    ----------
    spool
        Its films and results.
    predictor, model
        The model, and which it is.
    aet
        Its AE title.
    allowed
        AE titles that may send films.
    destination
        Where results go.
    first_wait
        Seconds before a second try; further waits double.
    keep_days
        How long receipts are kept.
    tls
        With which callers are spoken to; None speaks no TLS.

    Raises
    ------
    CxrlensError
        If an AE title is none.
    """

    def __init__(
        self,
        spool: Spool,
        predictor: Predictor,
        model: ModelIdentity,
        aet: str,
        allowed: Collection[str],
        destination: Destination,
        first_wait: float = 5.0,
        keep_days: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._spool, self._model = spool, model
        self._stop = threading.Event()
        self._is_broken = False
        self._courier = Courier(spool, destination, first_wait, keep_days)
        self._worker = Worker(spool, predictor, model, first_wait, self._courier.ready.set)
        self._receiver = Receiver(spool, aet, allowed, self._worker.ready.set, tls)

    def stop(self) -> None:
        """Ask the node to end."""
        self._stop.set()
        self._worker.ready.set()
        self._courier.ready.set()

    def run(self, host: str, port: int, ready: Callable[[int], None] = lambda port: None) -> bool:
        """Work until asked to end, or by SIGTERM or SIGINT where this is the main thread.

        Parameters
        ----------
        host, port
            Where to listen; port 0 lets the system choose.
        ready
            Called with the port when films can come.

        Returns
        -------
        bool
            False if a part of the node failed and ended it: it should be started again.

        Raises
        ------
        CxrlensError
            If it cannot listen there.
        """
        listening = self._receiver.start(host, port)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda number, frame: self.stop())
        threads = [
            threading.Thread(target=self._watched, args=(part.run,), name=name)
            for name, part in (("worker", self._worker), ("courier", self._courier))
        ]
        held = ", ".join(f"{count} {name}" for name, count in self._spool.counts().items())
        said = host, listening, self._model.name, self._model.digest, held
        _log.info("listening on %s:%d with model %s, version %s; in the spool %s", *said)
        for thread in threads:
            thread.start()
        ready(listening)
        self._stop.wait()
        self.stop()
        self._receiver.stop()
        for thread in threads:
            thread.join()
        self._spool.close()
        _log.info("ended")
        return not self._is_broken

    def _watched(self, work: Callable[[threading.Event], None]) -> None:
        """Run a part; if it ends before its time, so does the node, lest it collect films in vain."""
        try:
            work(self._stop)
        except CxrlensError as error:
            _log.error("ended: %s", error)
        finally:
            if not self._stop.is_set():
                self._is_broken = True
                self.stop()


def identify(model: SavedModel, trust: Trust | None = None) -> ModelIdentity:
    """Return which model answers, and what turns its scores into answers."""
    return ModelIdentity(
        model.path.resolve().name,
        model.digest,
        model.chain().version,
        __version__,
        trust.digest if trust else "",
        trust.site if trust else "",
    )


def open_log() -> None:
    """Send the node's log to standard error, a line an event, and silence everything else.

    It says what happened to which film, which it calls by its key in the spool, and nothing of whose film it
    is. What the libraries below log can quote names, and values that they mind.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False
    for name in logging.root.manager.loggerDict:
        if name.partition(".")[0] in _TALKATIVE:
            logging.getLogger(name).disabled = True
    for name in _TALKATIVE:  # for what they make later
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    warnings.simplefilter("ignore")
    threading.excepthook = _say_where


def _say_where(fault: threading.ExceptHookArgs) -> None:
    """Log of a fault in the program its kind and place; its own words could quote a film."""
    trace = fault.exc_traceback
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
    _log.error("a part of the node ended: %s at %s", fault.exc_type.__name__, place)
