"""Carries results from the spool to their destination, and tries again until it has them."""

import datetime
import threading
import time
from pathlib import Path

import pydicom

from cxrlens.errors import OutputError
from cxrlens.serving.dicom_node.destination import (
    Deliver,
    Destination,
    RefusedError,
    UnreachableError,
)
from cxrlens.serving.dicom_node.journal import log
from cxrlens.serving.dicom_node.patience import Patience
from cxrlens.serving.dicom_node.spool import Spool

TRIES = 30
"""So often a result is offered to a destination that refuses it: for about two hours."""

_EVERYTHING = "destination"
_DAY = 86400.0


class Courier:
    """Delivers results, the oldest first, one film's refusal not keeping the others.

    Parameters
    ----------
    spool
        Where results lie.
    destination
        Where they go.
    first_wait
        Seconds before the second try; each further wait is twice as long, up to five minutes.
    keep_days
        Receipts older than so many days are removed.
    tries
        See `TRIES`.
    """

    def __init__(
        self,
        spool: Spool,
        destination: Destination,
        first_wait: float,
        keep_days: float,
        tries: int = TRIES,
    ) -> None:
        self._spool, self._destination = spool, destination
        self._keep_days, self._tries = keep_days, tries
        self._patience = Patience(first_wait)
        self.ready = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Deliver until told to stop."""
        tidied = -_DAY
        while not stop.is_set():
            if time.monotonic() - tidied >= _DAY:
                self._spool.forget_receipts(self._keep_days)
                tidied = time.monotonic()
            self.ready.clear()
            if not self.deliver(stop):
                self.ready.wait(0.5)

    def deliver(self, stop: threading.Event) -> int:
        """Try every result whose time has come, once; return how many films are done with."""
        if not self._patience.is_due(_EVERYTHING):
            return 0
        due = [parcel for parcel in self._spool.parcels() if self._patience.is_due(parcel.name)]
        if not due:
            return 0
        # What makes the destination hang up stands behind everything else.
        due.sort(key=lambda parcel: self._patience.failures(parcel.name))
        finished = 0
        try:
            with self._destination.connected() as deliver:
                for parcel in due:
                    if stop.is_set():
                        break
                    finished += self._one(parcel, deliver)
            self._patience.succeeded(_EVERYTHING)
        except UnreachableError as error:
            _, wait = self._patience.failed(_EVERYTHING)
            log.warning("%s: next try in %.0f s", error, wait)
        except OutputError as error:
            _, wait = self._patience.failed(_EVERYTHING)
            log.error("%s: next try in %.0f s", error, wait)
        return finished

    def _one(self, parcel: Path, deliver: Deliver) -> bool:
        """Deliver what is left of one film's results; the capture before the report."""
        key = parcel.name
        try:
            for path in self._spool.unsent(parcel):
                deliver(_read(path))
                self._spool.sent(path)
        except UnreachableError:
            self._patience.failed(key)
            raise
        except RefusedError as error:
            count, wait = self._patience.failed(key)
            if count < self._tries:
                log.warning("%s: %s: next try in %.0f s", key, error, wait)
                return False
            self._spool.refuse(key, f"{error}, {count} times: its results lie beside this file")
            self._patience.succeeded(key)
            log.error("%s: %s, %d times: put into failed", key, error, count)
            return True
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self._spool.delivered(key, {"delivered": now, "to": self._destination.name})
        self._patience.succeeded(key)
        log.info("delivered %s to %s", key, self._destination.name)
        return True


def _read(path: Path) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(path)
    except Exception as error:  # a parser on a damaged file can raise anything
        raise RefusedError(f"{path.name} is damaged on the disk") from error
