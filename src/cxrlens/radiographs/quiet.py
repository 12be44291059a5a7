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
