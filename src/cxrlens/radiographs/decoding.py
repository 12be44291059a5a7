"""Decoders kept in check: silent, and apart, where a crash or an endless film costs that film alone.

Native decoders end the whole program on input that they did not expect, and no list of such input is
ever complete. The processes are started with the first film that needs one, kept, and shared by all
threads; each process that imports this has its own. They end with it, however it ends.
"""

import atexit
import contextlib
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import FilmError
from cxrlens.radiographs.decoder_process import receive, send, work

_PROGRAM = Path(__file__).with_name("decoder_process.py")

SECONDS, SECONDS_PER_MEGAPIXEL = 30.0, 2.0
"""A film is given up that takes its decoder longer; the slowest takes a tenth of it."""

_lock = threading.Lock()
_reading = threading.local()
_readers = 0
_former = warnings.catch_warnings()


def _may_be_logged(record: logging.LogRecord) -> bool:
    """Drop what a decoder logs in a thread that is reading; other threads keep their log."""
    return not getattr(_reading, "depth", 0)


def hush(package: str) -> None:
    """Have `quietly` silence the loggers of an imported package, one by one.

    Python's logging asks a logger's filters only for what was logged to it directly, not for what
    comes up from the loggers below it.
    """
    for name in [package, *logging.root.manager.loggerDict]:
        if name.partition(".")[0] == package:
            logging.getLogger(name).addFilter(_may_be_logged)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence warnings and the decoders' logs while a film is read.

    A film is good or it is refused with one sentence; remarks about its metadata help nobody, and
    can quote the value that they mind. Warning filters belong to the whole process, so that threads
    that read at once share one silence: the first one in sets it, the last one out restores what
    was before.
    """
    global _readers, _former
    with _lock:
        if _readers == 0:
            _former = warnings.catch_warnings()
            _former.__enter__()
            warnings.simplefilter("ignore")
        _readers += 1
    _reading.depth = getattr(_reading, "depth", 0) + 1
    try:
        yield
    finally:
        _reading.depth -= 1
        with _lock:
            _readers -= 1
            if _readers == 0:
                _former.__exit__(None, None, None)


class _Decoder:
    """One process, for one thread at a time."""

    def __init__(self) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-S", "-X", "utf8", str(_PROGRAM)],
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

    def work(self, header: dict[str, Any], pixels: bytes) -> tuple[NDArray[Any], list[Any]]:
        """Do a job. Raises ValueError where the decoder refuses the pixels, EOFError if it crashes."""
        with contextlib.suppress(BrokenPipeError):
            send(self.jobs, header, pixels)  # type: ignore[arg-type]
        if not (message := receive(self.answers, body=False)):  # type: ignore[arg-type]
            raise EOFError
        answer, _ = message
        if "error" in answer:
            raise ValueError(answer["error"])
        frame = np.empty(answer["shape"], dtype=answer["dtype"])
        body = frame.reshape(-1).view(np.uint8)
        if self.answers.readinto(body) < frame.nbytes:  # type: ignore[attr-defined]
            raise EOFError
        return frame, answer["said"]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.jobs, self.answers):
            with contextlib.suppress(OSError):
                pipe.close()


class Decoders:
    """As many processes as there are processors, each started when it is first needed.

    Attributes
    ----------
    is_apart
        Set in such a process itself, whose crash costs one film: it decodes on its own.
    """

    def __init__(self) -> None:
        self._forget()
        self.is_apart = False
        atexit.register(self.end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Leave a parent's processes to it, after a fork."""
        for decoder in getattr(self, "idle", ()):
            decoder.process.returncode = 0
        self.idle: list[_Decoder] = []
        self.busy: set[_Decoder] = set()
        self.lock = threading.Lock()
        self.places = threading.BoundedSemaphore(os.cpu_count() or 1)

    def end(self) -> None:
        """End the idle ones, and those at work: who waits for them is told that the decoder crashed."""
        with self.lock:
            while self.idle:
                self.idle.pop().end()
            for decoder in self.busy:
                decoder.process.kill()

    def answer(
        self, job: dict[str, Any], body: bytes, seconds: float, name: str
    ) -> tuple[NDArray[Any], list[Any]]:
        """Have a job done: an array, and what else the process says; see `decoder_process.work`.

        Raises
        ------
        FilmError
            If the process crashes or takes longer than `seconds`, or none can be started.
        ValueError
            If it refuses the job; the error's text is its word.
        """
        if self.is_apart:
            array, said = work(job, body)
            return np.asarray(array), said
        with self.places:
            decoder = self._take(name)
            late = threading.Event()
            bound = threading.Timer(seconds, _give_up, (decoder, late))
            bound.daemon = True
            bound.start()
            is_sound = False  # until it has answered: an interrupt leaves half of an answer behind
            try:
                answered = decoder.work({**job, "seconds": seconds}, body)
                is_sound = True
                return answered
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

    def _take(self, name: str) -> _Decoder:
        with self.lock:
            decoder = self.idle.pop() if self.idle else None
        try:
            if decoder and decoder.process.poll() is not None:
                decoder.end()
                decoder = None
            decoder = decoder or _Decoder()
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


decoders = Decoders()
"""Those of this process, for films and frames alike."""


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
    job = {"syntax": syntax, "plugin": plugin, "options": options}
    return decoders.answer(job, pixels, seconds, name)[0]


def remarks_on(kind: str, data: bytes, name: str = "the film") -> int:
    """Count what libjpeg or libtiff remarks on a film while it is decoded.

    Nothing but their words tells of it.

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
    _, (count,) = decoders.answer({"remarks": kind}, data, seconds, name)
    return int(count)
