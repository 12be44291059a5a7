"""Files that are on the disk when the call returns, whatever happens to the machine afterwards."""

import contextlib
import os
from pathlib import Path


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file, readable by its owner only, and wait until the disk has it.

    The name itself is safe only after `sync_folder` of its folder. A file that cannot be written
    whole is removed again.

    Raises
    ------
    OSError
        If the disk is full, the file exists, or the place may not be written.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def move_durably(source: Path, target: Path) -> None:
    """Rename within one file system, and wait until the disk knows the new name.

    The old name is forgotten with it or a little later: after a power cut the file has its new name,
    never none.
    """
    os.replace(source, target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
