"""Results out: another node by C-STORE, or a DICOMweb server by STOW-RS (PS3.18, 10.5)."""

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

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

from cxrlens.errors import CxrlensError
from cxrlens.serving.dicom_node.receiver import checked_aet

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
