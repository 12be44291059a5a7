"""Compressed DICOM pixels are decoded in processes apart, where a crash costs one film.

Native decoders end the whole program on input that they did not expect, and no list of such input is
ever complete. The processes are started with the first film that needs one, kept, and shared by all
threads; each process that imports this has its own. They end with it, however it ends.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import FilmError
from cxrlens.radiographs.decoder_process import LENGTHS, receive, send, work

_PROGRAM = Path(__file__).with_name("decoder_process.py")

SECONDS, SECONDS_PER_MEGAPIXEL = 30.0, 2.0
"""A film is given up that takes its decoder longer; the slowest takes a tenth of it."""


class _Decoder:
    """One process, for one thread at a time."""

    def __init__(self, program: Path) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-S", "-X", "utf8", str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # A Ctrl-C in the terminal is for us to answer, not for what works for us.
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdin
        assert self.process.stdout
        self.jobs, self.answers = self.process.stdin, self.process.stdout
        if receive(self.answers) is None:  # type: ignore[arg-type]
            self.end()
            raise OSError("it ended while it started")

    def frame(self, header: dict[str, Any], pixels: bytes) -> NDArray[Any]:
        """Decode. Raises ValueError where the decoder refuses the pixels, EOFError if it crashes."""
        with contextlib.suppress(BrokenPipeError):
            send(self.jobs, header, pixels)  # type: ignore[arg-type]
        head = self.answers.read(LENGTHS.size)
        if len(head) < LENGTHS.size:
            raise EOFError
        length, _ = LENGTHS.unpack(head)
        answer = json.loads(self.answers.read(length))
        if "error" in answer:
            raise ValueError(answer["error"])
        frame = np.empty(answer["shape"], dtype=answer["dtype"])
        body = frame.reshape(-1).view(np.uint8)
        if self.answers.readinto(body) < frame.nbytes:  # type: ignore[attr-defined]
            raise EOFError
        return frame

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.jobs, self.answers):
            with contextlib.suppress(OSError):
                pipe.close()


class Decoders:
    """As many processes of one program as there are processors, each started when it is first needed.

    Parameters
    ----------
    program
        What they run; `decoder_process` shows how it is spoken to.
    """

    def __init__(self, program: Path) -> None:
        self.program = program
        self.idle: list[_Decoder] = []
        self.busy: set[_Decoder] = set()
        self.lock = threading.Lock()
        self.places = threading.BoundedSemaphore(os.cpu_count() or 1)
        atexit.register(self.end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Leave a parent's processes to it, after a fork."""
        for decoder in self.idle:
            decoder.process.returncode = 0
        self.idle, self.busy, self.lock = [], set(), threading.Lock()
        self.places = threading.BoundedSemaphore(os.cpu_count() or 1)

    def end(self) -> None:
        """End the idle ones, and those at work: who waits for them is told that the decoder crashed."""
        with self.lock:
            while self.idle:
                self.idle.pop().end()
            for decoder in self.busy:
                decoder.process.kill()

    def answer(self, job: dict[str, Any], body: bytes, seconds: float, name: str) -> NDArray[Any]:
        """Have a job done.

        Raises
        ------
        FilmError
            If the process crashes or takes longer than `seconds`, or none can be started.
        ValueError
            If it refuses the job; the error's text is its word.
        """
        with self.places:
            decoder = self._take(name)
            late = threading.Event()
            bound = threading.Timer(seconds, _give_up, (decoder, late))
            bound.daemon = True
            bound.start()
            is_sound = False
            try:
                frame = decoder.frame({**job, "seconds": seconds}, body)
                is_sound = True
            except ValueError:
                is_sound = True
                raise
            except (EOFError, OSError) as error:
                why = f"takes longer than {seconds:.0f} seconds" if late.is_set() else "crashes"
                raise FilmError(
                    f"{name} cannot be decoded (its decoder {why} on these pixels): "
                    "copy it again, or export it uncompressed"
                ) from error
            finally:
                bound.cancel()
                with self.lock:
                    self.busy.discard(decoder)
                    if is_sound:
                        self.idle.append(decoder)
                if not is_sound:
                    decoder.end()
        return frame

    def _take(self, name: str) -> _Decoder:
        with self.lock:
            decoder = self.idle.pop() if self.idle else None
        if decoder and decoder.process.poll() is not None:
            decoder.end()
            decoder = None
        if decoder is None:
            try:
                decoder = _Decoder(self.program)
            except OSError as error:
                raise FilmError(
                    f"{name} is decoded in a process apart, and none could be started ({error}): "
                    "free memory, or export it uncompressed"
                ) from error
        with self.lock:
            self.busy.add(decoder)
        return decoder


def _give_up(decoder: _Decoder, late: threading.Event) -> None:
    late.set()
    decoder.process.kill()


_decoders = Decoders(_PROGRAM)
_is_apart = threading.Event()


def stay() -> None:
    """Decode in this process from now on: it is itself one whose crash costs one film."""
    _is_apart.set()


def decode_apart(
    syntax: str, plugin: str, options: dict[str, Any], pixels: bytes, name: str
) -> NDArray[Any]:
    """Decode one frame in a process apart.

    Parameters
    ----------
    syntax
        UID of the transfer syntax.
    plugin
        pydicom's name of the decoder.
    options
        pydicom's options of decoding, `rows` and `columns` among them.
    pixels
        Encapsulated.
    name
        What messages call the film.

    Returns
    -------
    ndarray
        (H, W) or (H, W, 3), as the decoder gives it.

    Raises
    ------
    FilmError
        If the decoder crashes or takes too long, or no process can be started.
    ValueError
        If the decoder refuses the pixels.
    """
    size = options["rows"] * options["columns"] / 1e6
    seconds = SECONDS + SECONDS_PER_MEGAPIXEL * size
    return _answer({"syntax": syntax, "plugin": plugin, "options": options}, pixels, seconds, name)


def remarks_on(kind: str, data: bytes, name: str = "the film") -> int:
    """Count what libjpeg or libtiff remarks on a film while it is decoded, which nothing but its words tells.

    Parameters
    ----------
    kind
        "JPEG" or "TIFF".
    data
        The whole file.
    name
        What messages call it.

    Returns
    -------
    int
        Remarks on corrupt data: bad codes, bytes too many or too few.

    Raises
    ------
    FilmError
        As `decode_apart` does.
    """
    seconds = SECONDS + SECONDS_PER_MEGAPIXEL * 100
    return int(_answer({"remarks": kind}, data, seconds, name)[0])


def _answer(job: dict[str, Any], pixels: bytes, seconds: float, name: str) -> NDArray[Any]:
    if _is_apart.is_set():
        return np.asarray(work(job, pixels))
    return _decoders.answer(job, pixels, seconds, name)
