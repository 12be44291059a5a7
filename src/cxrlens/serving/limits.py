"""Limits of the server: what it takes on at once, and uploads that end at the first byte too many.

Starlette's own form parser spools files into temporary files and reads them whole before a limit can
speak; here a form is read in memory and byte by byte, and nothing touches the disk.
"""

import logging
import math
import re
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException

from cxrlens.errors import CxrlensError

# What it minds in a form comes from a stranger; the answer says that the form is broken.
logging.getLogger("python_multipart").addHandler(logging.NullHandler())
logging.getLogger("python_multipart").propagate = False

_MIB = 1024 * 1024
_BETWEEN = 65536
"""Bytes of a form beside its films."""

LEAST_MEMORY = 128 * _MIB
"""A quarter of it holds any map that the server makes."""


@dataclass(frozen=True)
class Limits:
    """How much the server takes on at once.

    Attributes
    ----------
    film_bytes
        Bytes of one uploaded film; the upload is cut off beyond it.
    film_pixels
        Pixels of one film; a film with more is refused before it is decoded.
    films
        Films of one request.
    queue
        Films in the server at once, from the first byte of their upload to their answer. Beyond it a
        request is told when to come again.
    batch
        Films of one call of the network.
    upload_seconds, answer_seconds
        How long an upload may take, and how long one may wait for its answer.
    jobs
        Slow explanations that wait or run.
    job_idle_seconds, job_kept_seconds
        A job that nobody asks for is given up after the one; a finished job's map is forgotten after
        the other.
    memory
        Bytes that the server holds for its clients: a quarter for uploads from their first byte to their
        answer, a half for decoded films, a quarter for the maps of finished jobs. The model and the work
        on a film itself come on top.
    head_seconds, idle_seconds
        How long a request's head may take to come, and how long a connection may stay without a request
        after an answer.

    Raises
    ------
    CxrlensError
        If `memory` has no room for a single film.
    """

    film_bytes: int = 64 * 1024 * 1024
    film_pixels: int = 50_000_000
    films: int = 16
    queue: int = 32
    batch: int = 16
    upload_seconds: float = 60.0
    answer_seconds: float = 60.0
    jobs: int = 8
    job_idle_seconds: float = 30.0
    job_kept_seconds: float = 300.0
    memory: int = 1024 * _MIB
    head_seconds: float = 10.0
    idle_seconds: float = 10.0

    def __post_init__(self) -> None:
        most = max(4 * (self.film_bytes + _BETWEEN), 2 * self.film_pixels, LEAST_MEMORY)
        if self.memory < most:
            raise CxrlensError(
                f"{self.memory // _MIB} MB have no room for the largest film: set --memory to "
                f"{math.ceil(most / _MIB)} or more, or lower --max-megabytes and --max-megapixels"
            )

    @property
    def request_bytes(self) -> int:
        """Bytes of a whole request: its films, and a little for what stands between them."""
        return min(self.films * (self.film_bytes + 4096) + _BETWEEN, self.upload_bytes)

    @property
    def upload_bytes(self) -> int:
        """Bytes of all uploads that are not answered yet."""
        return self.memory // 4

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all decoded films that wait for the network or are in it."""
        return self.memory // 2

    @property
    def kept_bytes(self) -> int:
        """Bytes of all maps of finished jobs."""
        return self.memory // 4


class BusyError(HTTPException):
    """The server has as much in work as it may: come again after so many whole seconds."""

    def __init__(self, seconds: int) -> None:
        sentence = f"the server is busy: come again in {seconds} s"
        super().__init__(503, sentence, {"retry-after": str(seconds)})


class Places:
    """Places for films, or for their bytes, counted: who finds none free is turned away at once.

    Parameters
    ----------
    count
        How many there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0
        self._lock = threading.Lock()
        self._freed: deque[tuple[float, int]] = deque(maxlen=32)

    @contextmanager
    def hold(self, places: int = 1, beyond: bool = False) -> Iterator[Callable[[int], None]]:
        """Hold places for as long as the block runs, however it ends.

        Parameters
        ----------
        places
            How many, to begin with.
        beyond
            Whether more than there are may be taken: for what is there already, and must be counted.

        Yields
        ------
        function
            Takes so many more; they are given back with the others.

        Raises
        ------
        BusyError
            If fewer are free.
        """
        held = 0

        def take(more: int) -> None:
            nonlocal held
            with self._lock:
                if self.taken + more > self.count and not beyond:
                    raise BusyError(self._wait())
                self.taken += more
                held += more

        take(places)
        try:
            yield take
        finally:
            with self._lock:
                self.taken -= held
                self._freed.append((time.monotonic(), held))

    def _wait(self) -> int:
        """Guess from the last answers how long half of the places take, 1 to 30 s."""
        freed = sum(places for _, places in self._freed)
        if len(self._freed) < 2 or not freed:
            return 1
        pace = (time.monotonic() - self._freed[0][0]) / freed
        return min(30, max(1, math.ceil(pace * self.count / 2)))


_NAME_LENGTH = 120
FILM = "film"
"""The field that films come in."""

_VALUE_LENGTH = 1000
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


@dataclass
class Upload:
    """The content of a form.

    Attributes
    ----------
    films
        Name (as `plain_name` leaves it) and content of each file.
    fields
        The other fields, by name.
    """

    films: list[tuple[str, bytes]] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


def plain_name(name: str) -> str:
    r"""Return a file name without folders, control characters and signs that turn the text round.

    It is only ever shown, never opened. Markup in it stays what it is: text, for the page to escape.

    Examples
    --------
    >>> plain_name("../../etc/passwd"), plain_name("C:\\films\\a.dcm"), plain_name("..")
    ('passwd', 'a.dcm', 'film')
    """
    last = re.split(r"[/\\]", name)[-1]
    clean = _UNPRINTABLE.sub("", last).strip()[:_NAME_LENGTH]
    return clean if clean.strip(". ") else "film"


async def read_upload(
    content_type: str,
    stream: AsyncIterator[bytes],
    limits: Limits,
    arriving: Callable[[int], None],
) -> Upload:
    """Read a multipart form.

    Parameters
    ----------
    content_type
        The request's, with the boundary.
    stream
        Its body.
    limits
        Bytes of a film and films of a request.
    arriving
        Told how many bytes came before they are kept; raises where there is no room for them.

    Returns
    -------
    Upload
        All files, whatever their fields are called, and the text fields.

    Raises
    ------
    HTTPException
        With status 415 if it is no multipart form, 400 if it is broken or cut short, 413 if it is larger
        than the limits.
    BusyError
        If `arriving` has no room.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise HTTPException(415, "send the films as multipart/form-data, field 'film'")
    form, received = _Form(limits), 0
    try:
        named = (name for name in dir(form) if name.startswith("on_"))
        callbacks: Any = {name: getattr(form, name) for name in named}
        parser = MultipartParser(options[b"boundary"], callbacks)
        async for chunk in stream:
            received += len(chunk)
            if received > limits.request_bytes:
                raise HTTPException(
                    413, f"the request has more than {limits.request_bytes:,} bytes"
                )
            arriving(len(chunk))
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise HTTPException(400, "the multipart form is broken: send it again") from error
    if not form.finished:
        raise HTTPException(400, "the multipart form is cut short: send it again")
    return form.upload


class _Form:
    """Callbacks of the parser, by its own names for them."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.upload, self.finished = limits, Upload(), False
        self.on_part_begin()

    def on_part_begin(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.header, self.value = b"", b""
        self.body = bytearray()
        self.field = ""
        self.film: str | None = None

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def on_header_end(self) -> None:
        self.headers[self.header.lower()] = self.value
        self.header, self.value = b"", b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition"))
        self.field = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            if self.field != FILM:
                raise HTTPException(
                    400, f"a file came in field {self.field[:40]!r}: send films in field 'film'"
                )
            self.film = plain_name(options[b"filename"].decode("utf-8", "replace"))
            if len(self.upload.films) == self.limits.films:
                raise HTTPException(
                    413, f"a request holds at most {self.limits.films} films: send the rest apart"
                )

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        most = self.limits.film_bytes if self.film is not None else _VALUE_LENGTH
        if len(self.body) + end - start > most:
            what = f"film {len(self.upload.films) + 1}" if self.film is not None else "a field"
            raise HTTPException(
                413, f"{what} has more than the {most:,} bytes that the server takes"
            )
        self.body += memoryview(data)[start:end]

    def on_part_end(self) -> None:
        if self.film is not None:
            self.upload.films.append((self.film, bytes(self.body)))
        else:
            self.upload.fields[self.field] = self.body.decode("utf-8", "replace")
        self.body = bytearray()

    def on_end(self) -> None:
        self.finished = True
