"""Predicts the films of the spool in batches and lays their results out; a killing one is put by."""

import datetime
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, RootModel

from cxrlens.errors import FilmError, ModelError, OutputError
from cxrlens.explanation.heatmap import HeatMap
from cxrlens.files import explained, own_json
from cxrlens.pacs.courier import Patience
from cxrlens.pacs.header import FilmHeader, ModelIdentity, read_header
from cxrlens.pacs.log import log
from cxrlens.pacs.results import Result, secondary_capture, structured_report
from cxrlens.pacs.spool import Spool, move_durably, write_durably
from cxrlens.prediction import Prediction, Predictor
from cxrlens.radiographs.decoding import quietly
from cxrlens.radiographs.read import read_film_apart

ENDS = 5
"""Bad ends alone at work after which a film is given up. A machine's own failures are rarer."""


class Trials:
    """Counts bad ends.

    Parameters
    ----------
    folder
        The spool; two small files in it belong to this class.
    """

    def __init__(self, folder: Path) -> None:
        self._now, self._past = folder / "at-work.json", folder / "bad-ends.json"
        self._ends: dict[str, int] = {}
        past, left = _read(self._past, _Ends), _read(self._now, _Keys)
        if past:
            self._ends = past.root
        if left and left.root:
            for key in left.root:
                self._ends[key] = self._ends.get(key, 0) + (1 if len(left.root) == 1 else 0)
            with explained(folder):
                self._write(self._past, self._ends)
                self._now.unlink()

    def suspects(self) -> set[str]:
        """Name films that were at work at a bad end."""
        return set(self._ends)

    def is_hopeless(self, key: str) -> bool:
        """Tell whether a film ended the program too often."""
        return self._ends.get(key, 0) >= ENDS

    def begin(self, keys: Sequence[str]) -> None:
        """Note which films are at work."""
        with explained(self._now):
            self._write(self._now, list(keys))

    def end(self, keys: Sequence[str]) -> None:
        """Note that they ended well, or were put aside."""
        known = [key for key in keys if key in self._ends]
        for key in known:
            del self._ends[key]
        with explained(self._now):
            if known:
                self._write(self._past, self._ends)
            self._now.unlink(missing_ok=True)

    @staticmethod
    def _write(path: Path, content: object) -> None:
        draft = path.with_suffix(".part")
        draft.unlink(missing_ok=True)
        write_durably(draft, json.dumps(content).encode())
        move_durably(draft, path)


class _Ends(RootModel[dict[str, int]]):
    """Bad ends, by film."""


class _Keys(RootModel[list[str]]):
    """Films at work."""


_Kind = TypeVar("_Kind", bound=BaseModel)


def _read(path: Path, shape: type[_Kind]) -> _Kind | None:
    """Read one of the two files; one that is damaged counts nothing."""
    try:
        return own_json(path, shape, OutputError, "")
    except OutputError:
        return None


BATCH = 16
"""Films at work at once; each keeps its pixels in memory until its results are written."""

_DISK = "disk"
_Made = TypeVar("_Made")


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
    """

    def __init__(
        self,
        spool: Spool,
        predictor: Predictor,
        model: ModelIdentity,
        first_wait: float,
        made: Callable[[], None],
    ) -> None:
        self._spool, self._predictor, self._model, self._made = spool, predictor, model, made
        predictor.reader = read_film_apart
        self._patience = Patience(first_wait, 60.0)
        self._trials = Trials(spool.folder)
        self.ready = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Predict until told to stop; the film at work is finished."""
        while not stop.is_set():
            self.ready.clear()
            films = self._next() if self._patience.is_due(_DISK) else []
            if not films:
                self.ready.wait(0.5)
                continue
            try:
                self.work(films, stop)
                self._patience.succeeded(_DISK)
            except OutputError as error:
                _, wait = self._patience.failed(_DISK)
                log.error("%s: next try in %.0f s", error, wait)

    def _next(self) -> list[Path]:
        suspects = self._trials.suspects()
        return self._spool.films(BATCH, suspects) or self._spool.films(1)

    def work(self, films: Sequence[Path], stop: threading.Event) -> None:
        """Predict films and lay their results out.

        Raises
        ------
        OutputError
            If the disk is full; what is not laid out yet waits as before.
        """
        keys = [film.stem for film in films]
        self._trials.begin(keys)
        frontal = [(film, header) for film in films if (header := self._looked_at(film))]
        try:
            outcomes = self._outcomes([film for film, _ in frontal])
        except ModelError:
            self._trials.end(keys)  # the films are not to blame: they wait for a sound model
            raise
        for (film, header), outcome in zip(frontal, outcomes, strict=True):
            if stop.is_set():
                break
            try:
                if isinstance(outcome, FilmError):
                    raise outcome
                self._lay_out(film.stem, header, outcome)
            except FilmError as error:
                self._fail(film, str(error))
        self._trials.end(keys)

    def _looked_at(self, film: Path) -> FilmHeader | None:
        """Read a film's header; None if nothing is left to predict."""
        key = film.stem
        if self._spool.has_results(key):
            self._spool.drop(key)
            return None
        if self._trials.is_hopeless(key):
            self._fail(film, "the program ended again and again while it worked on this film alone")
            return None
        try:
            header = read_header(film)
            if not header.unsuitable:
                return header
            result = Result(header, self._model, self._moment(key), remark=header.unsuitable)
            report = guarded(lambda: structured_report(result))
        except FilmError as error:
            self._fail(film, str(error))
            return None
        self._keep(key, result, {"2-report.dcm": report})
        log.info("not predicted %s: %s", key, header.unsuitable)
        return None

    def _outcomes(self, films: Sequence[Path]) -> list[Prediction | FilmError]:
        """Predict in one batch; where a film breaks the batch, one by one."""
        try:
            return guarded(lambda: list(self._predictor.predict_many(films)))
        except FilmError:
            return [self._alone(film) for film in films]

    def _alone(self, film: Path) -> Prediction | FilmError:
        try:
            return guarded(lambda: self._predictor.predict(film))
        except FilmError as error:
            return error

    def _lay_out(self, key: str, header: FilmHeader, prediction: Prediction) -> None:
        film = prediction.film
        assert film is not None
        findings = prediction.findings
        result = Result(
            header,
            self._model,
            self._moment(key),
            prediction.predicted,
            prediction.probabilities,
            findings,
            "Caution: this does not look like a frontal chest film."
            if findings.get("not_a_chest")
            else "",
        )
        capture = guarded(lambda: secondary_capture(result, film, _heat(prediction)))
        report = guarded(lambda: structured_report(result))
        self._keep(key, result, {"1-capture.dcm": capture, "2-report.dcm": report})
        log.info("predicted %s", key)

    def _keep(self, key: str, result: Result, files: dict[str, bytes]) -> None:
        facts = {
            "made": result.made.isoformat(),
            "model": self._model.name,
            "digest": self._model.digest,
            "chain": self._model.chain,
            "pixels": result.header.pixels,
        }
        self._spool.keep_results(key, files, facts)
        self._made()

    def _moment(self, key: str) -> datetime.datetime:
        """When a result is made: that of the receipt, if this model made it before."""
        receipt = self._spool.receipt(key)
        if (receipt.get("digest"), receipt.get("chain")) == (
            self._model.digest,
            self._model.chain,
        ):
            try:
                return datetime.datetime.fromisoformat(receipt["made"])
            except (KeyError, TypeError, ValueError):
                pass
        return datetime.datetime.now().replace(microsecond=0)

    def _fail(self, film: Path, sentence: str) -> None:
        sentence = sentence.replace(str(film), "the film")
        self._spool.fail(film.stem, sentence)
        log.error("failed %s: %s", film.stem, sentence)


def _heat(prediction: Prediction) -> HeatMap | None:
    assert prediction.predictor is not None
    default = prediction.predictor.methods[0]
    # A slow method would hold up the film behind this one.
    return prediction.explain(default.name) if default.quick else None


def guarded(make: Callable[[], _Made]) -> _Made:
    """Turn any fault that a single film causes into a `FilmError`, so that it stops no other.

    Raises
    ------
    FilmError
        If `make` fails; one sentence that quotes nothing of the film.
    """
    with quietly():
        try:
            return make()
        except (FilmError, ModelError):
            raise
        except Exception as error:  # decoders and libraries on arbitrary films can raise anything
            kind = type(error).__name__
            raise FilmError(f"the film cannot be worked on ({kind}): look at it by hand") from error
