"""DICOMweb: how a server is spoken to, and the chest films of its study list (PS3.18: QIDO-RS, WADO-RS)."""

import datetime
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit, urlunsplit

import requests
from pydicom.dataset import Dataset
from requests.auth import HTTPBasicAuth

from cxrlens.errors import CxrlensError, FilmError
from cxrlens.pacs.receiver import FILMS
from cxrlens.prediction import Predictor
from cxrlens.prediction.table import FilmElsewhere, Predicted, predict_films
from cxrlens.progress import Progress
from cxrlens.radiographs.decoding import quietly
from cxrlens.radiographs.dicom_tags import VIEW_TAGS, first_text, unsuitable
from cxrlens.serving.tls import calling

TOKEN, LOGIN = "CXRLENS_DICOMWEB_TOKEN", "CXRLENS_DICOMWEB_LOGIN"
"""Environment variables: a bearer token; or ``user:password``. A command line is seen by others."""

SECONDS = 60.0
"""How long an answer may take."""

WAITS = (1.0, 2.0, 4.0)
"""Seconds before a question that was not answered is asked again."""

PAGE = 100
"""Entries that a page of a list is asked for; a server may send fewer."""

MODALITIES = ("CR", "DX")

_STUDIES = "/studies"
_JSON = "application/dicom+json"
_FILE = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Any transfer syntax: the film as it is stored, not as the server would code it anew."""

_OF_ONE = frozenset({400, 404, 406, 410, 413, 415, 422})
"""HTTP statuses about what was asked for; 408, 429 and those from 500 may pass."""


class UnreachableError(CxrlensError):
    """The other side takes or gives nothing at present: try everything again later."""


class _Token(requests.auth.AuthBase):
    """Sign with a bearer token; as an Authorization header alone, ``.netrc`` would replace it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@dataclass(frozen=True)
class DicomWeb:
    """A DICOMweb server, and how to speak to it.

    Attributes
    ----------
    url
        Its root, e.g. ``https://pacs/dicom-web``.
    certificate, key
        PEM files of our own, shown to a server that asks.
    ca
        PEM file of those who vouch for the server; default those that `requests` trusts.
    sign
        Who we are, by the environment variables `TOKEN` and `LOGIN`.
    """

    url: str
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    sign: requests.auth.AuthBase | None = field(default=None, repr=False)

    @classmethod
    def at(
        cls,
        url: str,
        certificate: Path | None = None,
        key: Path | None = None,
        ca: Path | None = None,
    ) -> "DicomWeb":
        """Read a URL, and the environment.

        Raises
        ------
        CxrlensError
            If it is no URL, has a password in it, or a PEM file is none.
        """
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018 - reading it raises if it is none
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CxrlensError("name the server's DICOMweb root, e.g. https://host/dicom-web")
        if "@" in parts.netloc:
            raise CxrlensError(
                f"a URL is seen by others: user:password belongs into the variable {LOGIN}"
            )
        if certificate or ca:
            calling(certificate, key, ca)  # says what is wrong with a file, which requests does not
        root = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        sign: requests.auth.AuthBase | None = None
        if token := os.environ.get(TOKEN, "").strip():
            sign = _Token(token)
        elif login := os.environ.get(LOGIN, "").strip():
            user, _, password = login.partition(":")
            sign = HTTPBasicAuth(user.encode(), password.encode())
        return cls(root, certificate, key, ca, sign)

    def session(self) -> requests.Session:
        """Open a session; close it after use."""
        session = requests.Session()
        # Without a bound requests waits for ever; the variable REQUESTS_CA_BUNDLE beats session.verify.
        verify = str(self.ca) if self.ca else None
        session.request = partial(session.request, timeout=SECONDS, verify=verify)  # type: ignore[method-assign]
        session.auth = self.sign
        if self.certificate and self.key:
            session.cert = (str(self.certificate), str(self.key))
        return session


def predict_studies(
    predictor: Predictor,
    server: DicomWeb,
    since: datetime.date,
    path: Path,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Predicted:
    """Predict the CR and DX films of a server's study list into a table, where each bears its WADO-RS URL.

    Parameters
    ----------
    predictor, path, resume, force
        See `cxrlens.prediction.table.predict_films`. A finished table grows by what has come since.
    server, since
        See `StudyList`.
    progress
        Called with studies done and studies in all.

    Raises
    ------
    UnreachableError
        If the server stops to answer; what was done is kept for `resume`.
    """
    with closing(StudyList(server, since)) as studies:
        try:
            found = predict_films(
                predictor, studies.films(progress), path, resume=resume, force=force
            )
        except UnreachableError as error:
            if not path.with_name(f"{path.name}.part").exists():
                raise
            raise UnreachableError(
                f"{error}. What was done is kept: the same command with --resume goes on"
            ) from error
        return replace(found, passed_over=studies.passed_over)


class StudyList:
    """The films of a server's study list, found when their turn comes and fetched one by one.

    Parameters
    ----------
    server
        The server.
    since
        The day of the oldest studies (Study Date).
    waits
        See `WAITS`.

    Attributes
    ----------
    passed_over
        Of films that were not fetched, since the server says that they are no frontal chest films: what they
        are, and how many.
    """

    def __init__(
        self, server: DicomWeb, since: datetime.date, waits: Sequence[float] = WAITS
    ) -> None:
        self._url, self._session = server.url, server.session()
        self._since, self._waits = since, waits
        self.passed_over: Counter[str] = Counter()

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def films(self, progress: Progress | None = None) -> Iterator[FilmElsewhere]:
        """Find the CR and DX films, study by study.

        Parameters
        ----------
        progress
            Called with studies done and studies in all.

        Yields
        ------
        FilmElsewhere
            Each under its WADO-RS URL.

        Raises
        ------
        UnreachableError
            If the server does not answer, also later, when a film is fetched.
        """
        # Not by ModalitiesInStudy: asked for it, Orthanc 1.10 leaves out what is beyond the first page.
        listed = self._list(_STUDIES, "StudyInstanceUID", StudyDate=f"{self._since:%Y%m%d}-")
        studies = [uid for uid, study in listed if _may_have_films(study)]
        for done, uid in enumerate(studies, 1):
            study = f"{_STUDIES}/{quote(uid, safe='')}"
            try:
                # All of it before the first is fetched: a study that cannot be listed is one failure.
                films = list(self._of_study(study))
            except FilmError as error:
                films = [FilmElsewhere(self._url + study, partial(_refuse, error))]
            yield from films
            if progress:
                progress(done, len(studies))

    def _of_study(self, study: str) -> Iterator[FilmElsewhere]:
        for series, about in self._list(f"{study}/series", "SeriesInstanceUID"):
            if first_text(about, "Modality").upper() not in MODALITIES:
                continue
            path = f"{study}/series/{quote(series, safe='')}/instances"
            for uid, film in self._list(path, "SOPInstanceUID", includefield=[*VIEW_TAGS]):
                kind = first_text(film, "SOPClassUID")
                if kind and kind not in FILMS:
                    continue
                if what := unsuitable(film):
                    self.passed_over[what] += 1
                    continue
                place = f"{path}/{quote(uid, safe='')}"
                yield FilmElsewhere(self._url + place, partial(self._fetch, place))

    def _list(self, path: str, uid: str, **wanted: Any) -> Iterator[tuple[str, Dataset]]:
        """Ask for a list page by page; yield each entry's UID and what is said of it."""
        seen: set[str] = set()
        offset = 0
        while True:
            answer = self._get(path, _JSON, {**wanted, "limit": PAGE, "offset": offset})
            try:
                with quietly():
                    page = [Dataset.from_json(one) for one in answer.json() or ()]
                    named = {first_text(one, uid): one for one in page}
            except Exception as error:  # whatever a stranger sends as JSON
                if not answer.content:
                    return  # HTTP 204: nothing found
                raise UnreachableError(
                    f"{self._url} answers with no DICOM JSON: is this its DICOMweb root?"
                ) from error
            # A page may be shorter than asked for; one that brings nothing new is the end.
            new = {one: about for one, about in named.items() if one and one not in seen}
            if not new:
                return
            yield from new.items()
            seen |= new.keys()
            offset += len(page)

    def _fetch(self, path: str) -> bytes:
        answer = self._get(path, _FILE)
        body = answer.content
        boundary = re.search(
            r'boundary="?([^";,]+)"?', answer.headers.get("Content-Type", ""), re.IGNORECASE
        )
        if boundary is None:
            return body
        # PS3.18, 8.6.1.2.1: one part, its head and content parted by an empty line.
        mark = b"--" + boundary[1].encode()
        content = body.partition(mark)[2].partition(b"\r\n\r\n")[2]
        return content[: content.rfind(b"\r\n" + mark)]

    def _get(
        self, path: str, accept: str, wanted: dict[str, Any] | None = None
    ) -> requests.Response:
        """Ask until there is an answer.

        Raises
        ------
        FilmError
            If the server refuses this one thing, and answers to others.
        UnreachableError
            If it answers to nothing, or not to us.
        """
        for wait in (*self._waits, None):
            try:
                answer = self._session.get(
                    self._url + path, params=wanted, headers={"Accept": accept}
                )
                if answer.ok:
                    return answer
                status, said = answer.status_code, f"answers with HTTP {answer.status_code}"
            except requests.exceptions.SSLError as error:
                raise UnreachableError(
                    f"{self._url}: its certificate is not vouched for, or it will not have ours: name "
                    "--tls-ca, --tls-certificate and --tls-key"
                ) from error
            except (requests.RequestException, OSError):
                status, said = 0, "does not answer"
            if wait is None or not (status in (0, 408, 429) or status >= 500):
                break
            time.sleep(wait)
        if status == 401:
            raise UnreachableError(f"{self._url} does not know us: set {TOKEN}, or {LOGIN}")
        if path == _STUDIES:
            hint = ": is this its DICOMweb root?" if status in _OF_ONE else ""
            raise UnreachableError(f"{self._url} {said}{hint}")
        if status not in _OF_ONE:
            self._get(_STUDIES, _JSON, {"limit": 1})  # does it answer at all?
        raise FilmError(f"{self._url}{path}: the server {said}")


def _may_have_films(study: Dataset) -> bool:
    """Return whether a study has CR or DX films by its list of modalities; without one, it may."""
    modalities = study.get("ModalitiesInStudy") or MODALITIES
    return not set(MODALITIES).isdisjoint(
        [modalities] if isinstance(modalities, str) else modalities
    )


def _refuse(error: FilmError) -> NoReturn:
    raise error
