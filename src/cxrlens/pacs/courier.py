"""Results out of the spool to their destination, by C-STORE or STOW-RS, tried again until they arrive."""

import datetime
import logging
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE

from cxrlens.errors import CxrlensError, OutputError
from cxrlens.pacs.dicomweb import SECONDS, DicomWeb, UnreachableError
from cxrlens.pacs.receiver import checked_aet
from cxrlens.pacs.spool import Spool

_log = logging.getLogger("cxrlens.pacs")

_OF_THE_INSTANCE = frozenset({400, 409, 413, 415, 422})
"""HTTP statuses about what was sent; others are about the server or our rights, and pass for all results."""

RESULTS = (
    SecondaryCaptureImageStorage,
    ComprehensiveSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
)

Deliver = Callable[[Dataset], None]
"""Delivers one result; raises `UnreachableError` or `RefusedError`."""


class RefusedError(CxrlensError):
    """The destination takes other results, but not this one."""


def _fault(name: str, status: int) -> CxrlensError:
    # C-STORE's Status (PS3.4, B.2.3) and STOW-RS' Failure Reason (PS3.18, I.2) are one set of codes.
    if 0xA700 <= status < 0xA800:
        return UnreachableError(f"{name} is out of resources")
    return RefusedError(f"{name} refused it with status 0x{status:04X}")


@dataclass(frozen=True)
class StoreNode:
    """A node that takes results by C-STORE.

    Attributes
    ----------
    aet, host, port
        Of the node.
    own_aet
        What we call ourselves.
    tls
        Speak TLS so; None speaks none.
    """

    aet: str
    host: str
    port: int
    own_aet: str
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, text: str, own_aet: str, tls: ssl.SSLContext | None = None) -> "StoreNode":
        """Read ``AET@host:port``.

        Raises
        ------
        CxrlensError
            If it is not of that form.
        """
        match = re.fullmatch(r"(.+)@(\[[0-9a-fA-F:]+\]|[^@:\s]+):(\d{1,5})", text)
        if match is None or not 0 < int(match[3]) < 65536:
            raise CxrlensError(
                f"{text!r} names no node: write AET@host:port, e.g. ORTHANC@pacs:4242"
            )
        host, port = match[2].strip("[]"), int(match[3])
        return cls(checked_aet(match[1]), host, port, checked_aet(own_aet), tls)

    @property
    def name(self) -> str:
        """The node as on the command line."""
        return f"{self.aet}@{self.host}:{self.port}"

    @contextmanager
    def connected(self) -> Iterator[Deliver]:
        """Hold an association, and yield what delivers over it.

        Raises
        ------
        UnreachableError
            If there is none to be had; also later, when it breaks.
        """
        node = AE(ae_title=self.own_aet)
        node.connection_timeout = node.acse_timeout = SECONDS
        node.dimse_timeout = node.network_timeout = SECONDS
        # A context a kind: an archive may take pictures and no reports; what it takes is known now, and a
        # result for which nothing was accepted is that result's fault, not the association's.
        for kind in RESULTS:
            node.add_requested_context(kind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        association = node.associate(
            self.host,
            self.port,
            ae_title=self.aet,
            tls_args=(self.tls, self.host) if self.tls else None,
        )
        if not association.is_established:
            how = "refuses us" if association.is_rejected else "does not answer"
            raise UnreachableError(f"{self.name} {how}")

        def deliver(dataset: Dataset) -> None:
            if not association.is_established:
                raise UnreachableError(f"{self.name} hung up")
            try:
                answer = association.send_c_store(dataset)
            except ValueError as error:  # no context was accepted for it
                raise RefusedError(
                    f"{self.name} takes no {dataset.SOPClassUID.name}: allow it there"
                ) from error
            except RuntimeError as error:  # the association ended in between
                raise UnreachableError(f"{self.name} hung up") from error
            if "Status" not in answer:  # aborted or timed out: nobody knows whether it is stored
                raise UnreachableError(f"{self.name} gave no answer")
            status = int(answer.Status)
            # Bxxx are warnings: the instance is stored, perhaps with elements coerced.
            if status != 0 and not 0xB000 <= status < 0xC000:
                raise _fault(self.name, status)

        try:
            yield deliver
        finally:
            if association.is_established:
                association.release()


@dataclass(frozen=True)
class StowServer:
    """A DICOMweb server that takes results by STOW-RS."""

    server: DicomWeb

    @property
    def name(self) -> str:
        """Its URL."""
        return self.server.url

    @contextmanager
    def connected(self) -> Iterator[Deliver]:
        """Hold a session, and yield what delivers over it; see `StoreNode.connected`."""
        session = self.server.session()
        client = DICOMwebClient(self.name, session=session)
        # It would try again within one call, and hold up the results behind; our own waits do that.
        client.set_http_retry_params(retry=False)

        def deliver(dataset: Dataset) -> None:
            try:
                answer = client.store_instances([dataset])
            except requests.HTTPError as error:
                status = error.response.status_code if error.response is not None else 0
                if status in _OF_THE_INSTANCE:
                    raise RefusedError(f"{self.name} refused it with HTTP {status}") from error
                raise UnreachableError(f"{self.name} answered HTTP {status}") from error
            except (requests.RequestException, OSError) as error:
                raise UnreachableError(f"{self.name} does not answer") from error
            if answer.get("FailedSOPSequence"):
                # HTTP 202 or 200 all the same: what became of the instance stands in the answer.
                reason = answer.FailedSOPSequence[0].get("FailureReason", 0)
                raise _fault(self.name, int(reason))

        try:
            yield deliver
        finally:
            session.close()


Destination = StoreNode | StowServer
"""Where results go."""

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
        self._backoff = Backoff(first_wait)
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
        if not self._backoff.is_due(_EVERYTHING):
            return 0
        due = [parcel for parcel in self._spool.parcels() if self._backoff.is_due(parcel.name)]
        if not due:
            return 0
        # A result that makes the destination hang up takes the association with it: it stands behind
        # everything else, or nothing else would ever arrive.
        due.sort(key=lambda parcel: self._backoff.failures(parcel.name))
        finished = 0
        try:
            with self._destination.connected() as deliver:
                for parcel in due:
                    if stop.is_set():
                        break
                    finished += self._one(parcel, deliver)
            self._backoff.succeeded(_EVERYTHING)
        except (UnreachableError, OutputError) as error:
            _log.warning("%s: next try in %.0f s", error, self._backoff.failed(_EVERYTHING))
        return finished

    def _one(self, parcel: Path, deliver: Deliver) -> bool:
        """Deliver what is left of one film's results; the capture before the report."""
        key = parcel.name
        try:
            for path in self._spool.unsent(parcel):
                deliver(_read_result(path))
                self._spool.sent(path)
        except UnreachableError:
            self._backoff.failed(key)  # perhaps it is this one that the destination cannot bear
            raise
        except RefusedError as error:
            wait, count = self._backoff.failed(key), self._backoff.failures(key)
            if count < self._tries:
                _log.warning("%s: %s: next try in %.0f s", key, error, wait)
                return False
            self._spool.put_aside(
                parcel, f"{error}, {count} times: its results lie beside this file"
            )
            self._backoff.succeeded(key)
            _log.error("%s: %s, %d times: put into failed", key, error, count)
            return True
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self._spool.delivered(key, {"delivered": now, "to": self._destination.name})
        self._backoff.succeeded(key)
        _log.info("delivered %s to %s", key, self._destination.name)
        return True


def _read_result(path: Path) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(path)
    except Exception as error:  # a parser on a damaged file can raise anything
        raise RefusedError(f"{path.name} is damaged on the disk") from error


class Backoff:
    """Waits for each of many things, doubling with every failure.

    They are kept in memory: after a restart everything is tried at once, and waits begin anew.

    Parameters
    ----------
    first, longest
        Seconds after the first failure, and at most.
    """

    def __init__(self, first: float, longest: float = 300.0) -> None:
        self._first, self._longest = first, longest
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}

    def is_due(self, thing: str) -> bool:
        """Return whether its time has come."""
        return time.monotonic() >= self._due.get(thing, 0.0)

    def failed(self, thing: str) -> float:
        """Count a failure; return the seconds until the next try."""
        count = self._failures[thing] = self.failures(thing) + 1
        wait = min(self._first * 2.0 ** min(count - 1, 32), self._longest)
        self._due[thing] = time.monotonic() + wait
        return wait

    def succeeded(self, thing: str) -> None:
        """Forget its failures."""
        self._failures.pop(thing, None)
        self._due.pop(thing, None)

    def failures(self, thing: str) -> int:
        """Return how often it failed since it last succeeded."""
        return self._failures.get(thing, 0)
