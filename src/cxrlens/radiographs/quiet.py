"""Keeps decoders from talking: their warnings reach nobody, and a log never holds a patient's name."""

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

_lock = threading.Lock()
_within = threading.local()
_readers = 0
_kept = warnings.catch_warnings()


class _Hush(logging.Filter):
    """Drops what a decoder logs in a thread that is reading; other threads keep their log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_within, "depth", 0)


for _name in ("pydicom", "PIL"):
    logging.getLogger(_name).addFilter(_Hush())


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence warnings and the log of pydicom while a film is decoded.

    A film is good or it is refused with one sentence; remarks about its metadata help nobody, and
    pydicom's can quote the value that it minds, which may be a patient's name. Warning filters
    belong to the whole process, so that threads that read at once share one silence: the first
    one in sets it, the last one out restores what was before.
    """
    global _readers, _kept
    with _lock:
        if _readers == 0:
            _kept = warnings.catch_warnings()
            _kept.__enter__()
            warnings.simplefilter("ignore")
        _readers += 1
    _within.depth = getattr(_within, "depth", 0) + 1
    try:
        yield
    finally:
        _within.depth -= 1
        with _lock:
            _readers -= 1
            if _readers == 0:
                _kept.__exit__(None, None, None)
