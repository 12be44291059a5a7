"""Program of a process that decodes films, or frames of DICOM films, for another; see `decoding`.

It is run as a file and starts fast: it imports this package with the first whole film alone.
A job is a length of its header and of its pixels, then both; so is an answer. Only headers in JSON and
bare bytes pass, so that a decoder gone astray cannot make its caller run anything.
"""

import contextlib
import io
import json
import logging
import os
import signal
import struct
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

LENGTHS = struct.Struct("<II")

_BYTES_PER_PIXEL = 24
_BYTES_BESIDE = 512 * 2**20
"""Bytes that decoders, tables and a film's own file need beside its pixels."""


def receive(stream: BinaryIO, body: bool = True) -> tuple[dict[str, Any], bytes] | None:
    """Read a message: its header and, if asked, what follows; None at the stream's end."""
    head = stream.read(LENGTHS.size)
    if len(head) < LENGTHS.size:
        return None
    header, length = LENGTHS.unpack(head)
    return json.loads(stream.read(header)), stream.read(length if body else 0)


def send(stream: BinaryIO, header: dict[str, Any], body: Any = b"") -> None:
    """Write a message; `body` is bytes or a contiguous array."""
    text = json.dumps(header).encode()
    view = memoryview(body).cast("B") if len(body) else memoryview(b"")
    stream.write(LENGTHS.pack(len(text), view.nbytes) + text)
    stream.write(view)
    stream.flush()


def decode(syntax: str, plugin: str, options: dict[str, Any], pixels: bytes) -> Any:
    """Decode one encapsulated frame to an array as the options, which are pydicom's, say."""
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(syntax)
    frame, _ = decoder.as_array(pixels, index=0, decoding_plugin=plugin, **options)
    return frame


def remarks_on(kind: str, film: bytes) -> int:
    """Decode a JPEG or a TIFF and count what its library says of it on the terminal's stream."""
    with tempfile.TemporaryFile() as said:
        before = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            _load(kind, film)
        finally:
            os.dup2(before, 2)
            os.close(before)
        said.seek(0)
        text = said.read()
    return text.count(b"Corrupt JPEG data" if kind == "JPEG" else b"\n")


def _load(kind: str, film: bytes) -> None:
    if kind == "JPEG":
        import cv2
        import numpy as np

        cv2.imdecode(np.frombuffer(film, dtype=np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
        return
    from PIL.TiffImagePlugin import TiffImageFile

    # What cannot be decoded is refused where it is decoded for its pixels.
    with contextlib.suppress(Exception), TiffImageFile(io.BytesIO(film)) as image:
        image.load()


def decode_bounded(job: dict[str, Any], film: bytes) -> Any:
    """Decode a whole film under the job's bounds; a refusal is a ValueError with its sentence."""
    from cxrlens.errors import FilmError
    from cxrlens.radiographs.decoding import decoders
    from cxrlens.radiographs.read import decode_film

    decoders.is_apart = True
    most = _BYTES_PER_PIXEL * job["max_pixels"] + _BYTES_BESIDE
    try:
        with _bounded(job["processor_seconds"], most):
            return decode_film(film, job["name"], job["max_pixels"])
    except FilmError as error:
        raise ValueError(str(error)) from error
    except BaseException as error:  # a panic in Rust is no Exception
        raise ValueError(
            f"{job['name']} cannot be decoded ({type(error).__name__}): save it anew as PNG"
        ) from error


@contextlib.contextmanager
def _bounded(seconds: float, more_bytes: int) -> Iterator[None]:
    """End this process after so much processor time; let it take so many bytes more than it has."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    bounds = [bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY]
    with contextlib.suppress(OSError):  # only Linux tells what a process has
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bounds.append(pages * resource.getpagesize() + more_bytes)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        # Who started us may have bounded us already; nobody can go beyond that.
        resource.setrlimit(resource.RLIMIT_AS, (min(bounds, default=soft), hard))
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def work(header: dict[str, Any], body: bytes) -> tuple[Any, list[Any]]:
    """Decode a frame or a film, or count the remarks on one: an array, and what else there is to say."""
    if kind := header.get("remarks"):
        return [], [remarks_on(kind, body)]
    if "max_pixels" in header:
        pixels, *said = decode_bounded(header, body)
        return pixels, said
    return decode(header["syntax"], header["plugin"], header["options"], body), []


def _end_with(parent: int) -> None:
    """End when the caller is gone, even where a decoder never returns or a pipe was inherited."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def serve() -> None:
    """Answer jobs until the caller closes its end.

    The text of a ValueError is passed on as the job's refusal; of other exceptions only the kind.
    """
    jobs, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a decoder that prints must not print into the answers
    warnings.simplefilter("ignore")
    logging.disable()
    if hasattr(os, "getppid") and os.name == "posix":
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    import numpy as np
    import pydicom.pixels.decoders.base  # noqa: F401

    send(answers, {"ready": True})
    while job := receive(jobs):
        header, pixels = job
        if hasattr(signal, "alarm"):  # the kernel ends what holds the interpreter for ever
            signal.alarm(int(header["seconds"]) + 5)
        try:
            array, said = work(header, pixels)
            frame = np.ascontiguousarray(array)
        except ValueError as error:
            send(answers, {"error": str(error)})
        except BaseException as error:  # noqa: BLE001  # a panic in Rust is no Exception
            send(answers, {"error": type(error).__name__})
        else:
            about = {"shape": frame.shape, "dtype": frame.dtype.str, "said": said}
            send(answers, about, frame.reshape(-1))
        if hasattr(signal, "alarm"):
            signal.alarm(0)


if __name__ == "__main__":
    serve()
