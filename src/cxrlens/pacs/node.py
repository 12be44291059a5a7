"""The node: a receiver, a worker and a courier around one spool, until a signal ends them.

The worker predicts the spool's films and lays out their results; a film that ends the program is put aside.
"""

import contextlib
import datetime
import json
import logging
import signal
import ssl
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from pydantic import RootModel

from cxrlens import __version__
from cxrlens.errors import CxrlensError, FilmError, ModelError, OutputError, blamed_on, place_of
from cxrlens.explanation.heatmap import HeatMap
from cxrlens.files import explained
from cxrlens.pacs.courier import Backoff, Courier, Destination
from cxrlens.pacs.header import FilmHeader, ModelIdentity, read_header
from cxrlens.pacs.overlay import presentation_state, region_groups
from cxrlens.pacs.receiver import Receiver
from cxrlens.pacs.results import Result, secondary_capture, structured_report
from cxrlens.pacs.spool import Spool, lay, noted
from cxrlens.prediction import Prediction, Predictor
from cxrlens.prediction.trust import REASONS, Trust, Watch
from cxrlens.radiographs.decoding import quietly
from cxrlens.radiographs.read import read_film_apart
from cxrlens.runs import SavedModel

ENDS = 5
"""Bad ends alone at work after which a film is given up. A machine's own failures are rarer."""

BATCH = 16
"""Films at work at once; each keeps its pixels in memory until its results are written."""

_DISK = "disk"

_log = logging.getLogger("cxrlens.pacs")


class Worker:
    """Turns waiting films into results, the oldest first.

    Parameters
    ----------
    spool
        Where films wait and results go.
    predictor, model
        The model, and which it is.
    first_wait
        Seconds before another try where the disk is full; doubles up to a minute.
    made
        Called after each film whose results are laid out.
    overlay
        Whether a presentation state is among them.
    """

    def __init__(
        self,
        spool: Spool,
        predictor: Predictor,
        model: ModelIdentity,
        first_wait: float,
        made: Callable[[], None],
        overlay: bool = True,
    ) -> None:
        self._overlay = overlay
        self._spool, self._predictor, self._model, self._made = spool, predictor, model, made
        predictor.reader = read_film_apart
        self._backoff = Backoff(first_wait, 60.0)
        self._crashes = CrashCounts(spool.folder)
        self._watch, self._alarmed = Watch(predictor.trust.histogram), False
        self.ready = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Predict until told to stop; the film at work is finished."""
        while not stop.is_set():
            self.ready.clear()
            # Suspects go alone, once nothing else waits: what they bring down brings down no other's results.
            films = self._spool.films(BATCH, self._crashes.suspects()) or self._spool.films(1)
            if not films or not self._backoff.is_due(_DISK):
                self.ready.wait(0.5)
                continue
            try:
                self.work(films, stop)
                self._backoff.succeeded(_DISK)
            except OutputError as error:
                _log.error("%s: next try in %.0f s", error, self._backoff.failed(_DISK))

    def work(self, films: Sequence[Path], stop: threading.Event) -> None:
        """Predict films and lay their results out.

        Raises
        ------
        OutputError
            If the disk is full; what is not laid out yet waits as before.
        """
        keys = [film.stem for film in films]
        self._crashes.begin(keys)
        frontal = [(film, header) for film in films if (header := self._looked_at(film))]
        try:
            outcomes = self._outcomes([film for film, _ in frontal])
        except ModelError:
            self._crashes.end(keys)  # the films are not to blame: they wait for a sound model
            raise
        for (film, header), outcome in zip(frontal, outcomes, strict=True):
            if stop.is_set():
                break
            try:
                if isinstance(outcome, FilmError):
                    raise outcome
                left = "" if outcome.answered else f"Not assessed: {REASONS[outcome.reason]}."
                self._lay_out(film.stem, header, outcome, left)
                self._watch.see(outcome.scores, outcome.reason)
                if left:
                    _log.info("left unsure %s: %s", film.stem, outcome.reason)
                else:
                    _log.info("predicted %s", film.stem)
            except FilmError as error:
                self._fail(film, str(error))
        self._crashes.end(keys)
        self._tell()

    def _tell(self) -> None:
        """Write ``metrics.prom``, which Prometheus' node exporter reads, and log that scores have drifted."""
        told = self._watch.told()
        lines = "".join(f"{name} {value}\n" for name, value in told.items())
        with explained(self._spool.folder):
            lay(self._spool.folder / "metrics.prom", lines.encode(), self._spool.folder)
        alarmed = bool(told["cxrlens_score_drift_alarm"])
        if alarmed and not self._alarmed:
            _log.warning("scores have drifted: other films come than the model was fitted on")
        self._alarmed = alarmed

    def _looked_at(self, film: Path) -> FilmHeader | None:
        """Read a film's header; None if nothing is left to predict."""
        key = film.stem
        if self._spool.has_results(key):
            self._spool.drop(key)
            return None
        if self._crashes.is_hopeless(key):
            self._fail(film, "the program ended again and again while it worked on this film alone")
            return None
        try:
            header = read_header(film)
            if not header.unsuitable:
                return header
            self._lay_out(key, header, None, header.unsuitable)
            _log.info("not predicted %s: %s", key, header.unsuitable)
        except FilmError as error:
            self._fail(film, str(error))
        return None

    def _outcomes(self, films: Sequence[Path]) -> list[Prediction | FilmError]:
        """Predict in one batch; where a film breaks the batch, one by one."""
        try:
            with quietly(), blamed_on("the film"):
                return list(self._predictor.predict_many(films))
        except FilmError as error:
            if len(films) == 1:
                return [error]
            return [outcome for film in films for outcome in self._outcomes([film])]

    def _lay_out(
        self, key: str, header: FilmHeader, prediction: Prediction | None, remark: str
    ) -> None:
        result = Result(header, self._model, self._moment(key), prediction, remark)
        with quietly(), blamed_on("the film"):
            files = _files(result, self._overlay)
        facts = {
            "made": result.made.isoformat(),
            "model": self._model.name,
            "digest": self._model.digest,
            "chain": self._model.chain,
            "trust": self._model.trust,
            "site": self._model.site,
            "pixels": result.header.pixels,
        }
        self._spool.keep_results(key, files, facts)
        self._made()

    def _moment(self, key: str) -> datetime.datetime:
        """Return when a result is made: the receipt's moment, if this model made it before."""
        receipt = self._spool.receipt(key)
        whose = [receipt.get(name, "") for name in ("digest", "chain", "trust", "site")]
        model = self._model
        if whose == [model.digest, model.chain, model.trust, model.site]:
            with contextlib.suppress(KeyError, TypeError, ValueError):
                return datetime.datetime.fromisoformat(receipt["made"])
        return datetime.datetime.now().replace(microsecond=0)

    def _fail(self, film: Path, sentence: str) -> None:
        sentence = sentence.replace(str(film), "the film")
        self._spool.put_aside(film, sentence)
        _log.error("failed %s: %s", film.stem, sentence)


def _files(result: Result, with_overlay: bool) -> dict[str, bytes]:
    """Make a film's results; they are delivered in the order of their names."""
    prediction = result.prediction
    if prediction is None:
        return {"2-report.dcm": structured_report(result)}
    heat = _heat(prediction)
    files = {
        "1-capture.dcm": secondary_capture(result, heat),
        "2-report.dcm": structured_report(result, region_groups(result, heat) if heat else ()),
    }
    overlay = presentation_state(result, heat) if heat and with_overlay else None
    if overlay:
        # The last, since some archives take none: capture and report are there by then.
        files["3-overlay.dcm"] = overlay
    return files


def _heat(prediction: Prediction) -> HeatMap | None:
    if not prediction.answered:
        return None  # a map for a class would name it
    assert prediction.predictor is not None
    default = prediction.predictor.methods[0]
    # A slow method would hold up the film behind this one.
    return prediction.explain(default.name) if default.quick else None


class CrashCounts:
    """Counts how often the program ended while a film was at work.

    A decoder or a library that a film brings down takes the whole program with it: what was at work is noted
    on the disk before it begins, and found there at the next start.

    Parameters
    ----------
    folder
        The spool; two small files in it belong to this class.
    """

    def __init__(self, folder: Path) -> None:
        self._now, self._past = folder / "at-work.json", folder / "bad-ends.json"
        self._drafts = folder
        self._ends = noted(self._past, RootModel[dict[str, int]]) or {}
        left = noted(self._now, RootModel[list[str]]) or []
        if left:
            # Of several at work, one is guilty: all are suspects, to be tried alone, and none is counted.
            for key in left:
                self._ends[key] = self._ends.get(key, 0) + (len(left) == 1)
            with explained(folder):
                self._write(self._past, self._ends)
                self._now.unlink()

    def suspects(self) -> set[str]:
        """Return the films that were at work when the program ended."""
        return set(self._ends)

    def is_hopeless(self, key: str) -> bool:
        """Return whether the program ended too often with this film alone."""
        return self._ends.get(key, 0) >= ENDS

    def begin(self, keys: Sequence[str]) -> None:
        """Note which films are at work."""
        with explained(self._now):
            self._write(self._now, list(keys))

    def end(self, keys: Sequence[str]) -> None:
        """Note that they ended well, or were put aside."""
        known = self._ends.keys() & keys
        with explained(self._now):
            if known:
                self._ends = {key: ends for key, ends in self._ends.items() if key not in known}
                self._write(self._past, self._ends)
            self._now.unlink(missing_ok=True)

    def _write(self, path: Path, content: object) -> None:
        lay(path, json.dumps(content).encode(), self._drafts)


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
    overlay
        Whether results have a presentation state among them.

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
        overlay: bool = True,
    ) -> None:
        self._spool, self._model = spool, model
        self._stop = threading.Event()
        self._is_broken = False
        self._courier = Courier(spool, destination, first_wait, keep_days)
        self._worker = Worker(spool, predictor, model, first_wait, self._courier.ready.set, overlay)
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
    place = place_of(fault.exc_traceback)
    _log.error("a part of the node ended: %s at %s", fault.exc_type.__name__, place)
