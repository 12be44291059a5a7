"""Locks between processes: a file that one holds until it lets go or ends, however it ends."""

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock, Timeout

from cxrlens.writing import explained

Held = AbstractContextManager[object]
"""A lock that is held, until the end of a `with` block over it, or of the process."""


def lock(path: Path) -> Held:
    """Lock a file, waiting for who holds it.

    Raises
    ------
    OutputError
        If its place cannot be written.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path, thread_local=False).acquire()


def try_lock(path: Path) -> Held | None:
    """Lock a file; None if another process holds it.

    Raises
    ------
    OutputError
        If its place cannot be written.
    """
    with explained(path), contextlib.suppress(Timeout):
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path, thread_local=False).acquire(timeout=0)
    return None
