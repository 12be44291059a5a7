"""Carries results from the spool to their destination (C-STORE, STOW-RS), trying again until it arrives."""

import datetime
import re
import ssl
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE
from requests.adapters import HTTPAdapter

from cxrlens.errors import CxrlensError, OutputError
from cxrlens.pacs.log import log
from cxrlens.pacs.receiver import checked_aet
from cxrlens.pacs.spool import Spool


class Patience:
    """Waits for each of many things, doubling with every failure.

    They are kept in memory: after a restart everything is tried at once, and waits begin anew.

    Parameters
    ----------
    first, longest
        Seconds after the first failure, and at most.
    """

    def __init__(self, first: float, longest: float = 300.0) -> None:
        self._first, self._longest = first, longest
        self._failures: dict[Hashable, int] = {}
        self._due: dict[Hashable, float] = {}

    def is_due(self, thing: Hashable) -> bool:
        """Tell whether its time has come."""
        return time.monotonic() >= self._due.get(thing, 0.0)

    def failed(self, thing: Hashable) -> tuple[int, float]:
        """Count a failure; return how many there are now, and the seconds until the next try."""
        count = self._failures.get(thing, 0) + 1
        wait = min(self._first * 2.0 ** min(count - 1, 32), self._longest)
        self._failures[thing], self._due[thing] = count, time.monotonic() + wait
        return count, wait

    def succeeded(self, thing: Hashable) -> None:
        """Forget its failures."""
        self._failures.pop(thing, None)
        self._due.pop(thing, None)

    def failures(self, thing: Hashable) -> int:
        """Say how often it failed since it last succeeded."""
        return self._failures.get(thing, 0)

    def waiting(self) -> set[Hashable]:
        """Name everything whose time has not come."""
        return {thing for thing in self._due if not self.is_due(thing)}


SECONDS = 60.0
"""How long an answer may take."""


class UnreachableError(CxrlensError):
    """The destination takes nothing at present: try everything again later."""


class RefusedError(CxrlensError):
    """The destination takes other results, but not this one."""


class Destination(Protocol):
    """Where results go."""

    @property
    def name(self) -> str:
        """What the log calls it; no password, no token."""

    def connected(self) -> AbstractContextManager["Deliver"]:
        """Give a context in which there is a function that delivers one dataset.

        Entering raises `UnreachableError`; the function raises that or `RefusedError`.
        """


Deliver = Callable[[Dataset], None]


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
        """Hold an association; see `Destination`."""
        node = AE(ae_title=self.own_aet)
        node.connection_timeout = node.acse_timeout = SECONDS
        node.dimse_timeout = node.network_timeout = SECONDS
        for kind in (SecondaryCaptureImageStorage, ComprehensiveSRStorage):
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
            if "Status" not in answer:
                raise UnreachableError(f"{self.name} gave no answer")
            status = int(answer.Status)
            if status == 0 or 0xB000 <= status < 0xC000:  # a warning: it is stored
                return
            if 0xA700 <= status < 0xA800:
                raise UnreachableError(f"{self.name} is out of resources")
            raise RefusedError(f"{self.name} refused it with status 0x{status:04X}")

        try:
            yield deliver
        finally:
            if association.is_established:
                association.release()


class StowServer:
    """A DICOMweb server that takes results by STOW-RS.

    Parameters
    ----------
    url
        Its DICOMweb root, e.g. ``https://pacs/dicom-web``; may hold ``user:password@``.
    token
        Sent as bearer token, if given.
    certificate, key
        PEM files of our own, shown to a server that asks.
    ca
        PEM file of those who vouch for the server; default those that `requests` trusts.

    Raises
    ------
    CxrlensError
        If the URL is none.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        ca: Path | None = None,
    ) -> None:
        try:
            parts = urlsplit(url)
            is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
            parts.port  # noqa: B018 - reading it raises if it is none
        except ValueError:
            is_url = False
        if not is_url:
            raise CxrlensError(
                "--stow wants the server's DICOMweb root, e.g. http://host/dicom-web"
            )
        place = parts.netloc.rpartition("@")[2]
        self._url = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
        self._login = (parts.username or "", parts.password or "") if "@" in parts.netloc else None
        self._token = token
        self._certificate = (str(certificate), str(key)) if certificate and key else None
        self._ca = str(ca) if ca else True

    @property
    def name(self) -> str:
        """The URL without user and password."""
        return self._url

    @contextmanager
    def connected(self) -> Iterator[Deliver]:
        """Hold a session; see `Destination`."""
        session = requests.Session()
        session.mount("http://", _Patient())
        session.mount("https://", _Patient())
        session.auth = self._login
        session.cert, session.verify = self._certificate, self._ca
        if self._token:
            session.headers["Authorization"] = f"Bearer {self._token}"
        client = DICOMwebClient(self._url, session=session)
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
                reason = answer.FailedSOPSequence[0].get("FailureReason", 0)
                if 0xA700 <= int(reason) < 0xA800:
                    raise UnreachableError(f"{self.name} is out of resources")
                raise RefusedError(f"{self.name} refused it with reason 0x{int(reason):04X}")

        try:
            yield deliver
        finally:
            session.close()


_OF_THE_INSTANCE = frozenset({400, 409, 413, 415, 422})
"""HTTP statuses that say something of what was sent; others, of the server or of our rights."""


class _Patient(HTTPAdapter):
    """Waits for an answer, but not for ever."""

    def send(self, request: Any, *args: Any, **options: Any) -> requests.Response:
        options["timeout"] = SECONDS
        return super().send(request, *args[:1], **options)


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
