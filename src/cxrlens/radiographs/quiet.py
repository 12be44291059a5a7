"""Keeps decoders from talking: no warning leaks out, and no log ever holds a patient's name."""

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

_lock = threading.Lock()
_reading = threading.local()
_readers = 0
_former = warnings.catch_warnings()


class _Hush(logging.Filter):
    """Drops what a decoder logs in a thread that is reading; other threads keep their log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_reading, "depth", 0)


_HUSH = _Hush()


def hush(package: str) -> None:
    """Have `quietly` silence the loggers of an imported package, one by one.

    Python's logging asks a logger's filters only for what was logged to it directly, not for what
    comes up from the loggers below it.
    """
    for name in [package, *logging.root.manager.loggerDict]:
        if name.partition(".")[0] == package:
            logging.getLogger(name).addFilter(_HUSH)


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


_FIRST_ELEMENTS = frozenset(bytes([element, 0]) for element in (0x00, 0x01, 0x05, 0x08, 0x16))
"""Of group 8: its length, the length to the end, character set, image type, SOP class."""


def is_dicom(start: bytes) -> bool:
    """Tell a DICOM file by its first 132 bytes, or more.

    Old files lack the preamble that ends in "DICM"; they begin with the length, or with the first
    tags of the group that identifies the film.
    """
    if start[128:132] == b"DICM" or start.startswith(b"\x02\0\0\0UL\x04\0"):
        return True
    return start[:2] == b"\x08\0" and start[2:4] in _FIRST_ELEMENTS
