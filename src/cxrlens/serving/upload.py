"""Films out of a multipart request, in memory and byte by byte: nothing touches the disk.

Starlette's own form parser spools files into temporary files and reads them whole before a limit
can speak; here an upload ends at the first byte too many.
"""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from cxrlens.serving.limits import Limits

_NAME_LENGTH = 120
FILM = "film"
"""The field that films come in."""

_VALUE_LENGTH = 1000
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


class UploadError(Exception):
    """A request that is not taken.

    Attributes
    ----------
    status
        The HTTP status: 400 broken, 413 too large, 415 no multipart form.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass
class Upload:
    """What a form brought.

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
    r"""Give a file name without folders, control characters and signs that turn the text round.

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
    UploadError
        If it is no multipart form, broken, cut short, or larger than the limits.
    BusyError
        If `arriving` has no room.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise UploadError(415, "send the films as multipart/form-data, field 'film'")
    form, received = _Form(limits), 0
    try:
        parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": form.begin,
                "on_part_data": form.data,
                "on_part_end": form.end,
                "on_header_field": form.header_name,
                "on_header_value": form.header_value,
                "on_header_end": form.header_end,
                "on_headers_finished": form.headers_finished,
                "on_end": form.finish,
            },
        )
        async for chunk in stream:
            received += len(chunk)
            if received > limits.request_bytes:
                raise UploadError(413, f"the request has more than {limits.request_bytes:,} bytes")
            arriving(len(chunk))
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise UploadError(400, "the multipart form is broken: send it again") from error
    if not form.finished:
        raise UploadError(400, "the multipart form is cut short: send it again")
    return form.upload


class _Form:
    """Callbacks of the parser."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.upload, self.finished = limits, Upload(), False
        self.begin()

    def begin(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.header, self.value = b"", b""
        self.body = bytearray()
        self.field = ""
        self.film: str | None = None

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self.header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def header_end(self) -> None:
        self.headers[self.header.lower()] = self.value
        self.header, self.value = b"", b""

    def headers_finished(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition"))
        self.field = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            if self.field != FILM:
                raise UploadError(
                    400, f"a file came in field {self.field[:40]!r}: send films in field 'film'"
                )
            self.film = plain_name(options[b"filename"].decode("utf-8", "replace"))
            if len(self.upload.films) == self.limits.films:
                raise UploadError(
                    413, f"a request holds at most {self.limits.films} films: send the rest apart"
                )

    def data(self, data: bytes, start: int, end: int) -> None:
        most = self.limits.film_bytes if self.film is not None else _VALUE_LENGTH
        if len(self.body) + end - start > most:
            what = f"film {len(self.upload.films) + 1}" if self.film is not None else "a field"
            raise UploadError(413, f"{what} has more than the {most:,} bytes that the server takes")
        self.body += memoryview(data)[start:end]

    def end(self) -> None:
        if self.film is not None:
            self.upload.films.append((self.film, bytes(self.body)))
        else:
            self.upload.fields[self.field] = self.body.decode("utf-8", "replace")
        self.body = bytearray()

    def finish(self) -> None:
        self.finished = True
