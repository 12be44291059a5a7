"""Files: outputs are written beside their place and moved into it, so that nothing is lost half-way.

A reader sees the old file or the new one, never a part; an existing file stays unless the user
said ``--force``.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cxrlens.errors import OutputError

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
    errno.ENOTDIR: "a part of its path is a file",
    errno.ENAMETOOLONG: "its name is too long",
}


def refuse_existing(path: Path, force: bool = False) -> None:
    """Raise `OutputError` if a file exists and the user did not say that it may be replaced.

    A folder is never replaced by a file.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder: name a file in it")
    if path.exists() and not force:
        raise OutputError(f"{path} exists already: choose another place, or say --force")


def refuse_filled(folder: Path, force: bool = False) -> None:
    """Raise `OutputError` if a folder holds something and the user did not say that it may be replaced."""
    occupied = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
    if occupied and not force:
        raise OutputError(f"{folder} exists already: choose another place, or say --force")


def short_stem(path: Path, longest: int = 120) -> str:
    """Give a file's name without its suffix, cut so that names made of it fit any file system.

    Parameters
    ----------
    path
        The file.
    longest
        Bytes of UTF-8.
    """
    return path.stem.encode(errors="replace")[:longest].decode(errors="ignore")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an operating-system refusal to write `path` into one sentence."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise OutputError(f"{path} could not be written: {reason}") from error


@contextlib.contextmanager
def moved_into_place(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there when the block ends well.

    Parameters
    ----------
    path
        The file or folder to write. Its parent folders are made.

    Yields
    ------
    Path
        A path in the same folder with the same suffix, not yet existing. The block makes a file or a
        folder there; if it raises, what it wrote is removed and `path` stays as it was.

    Raises
    ------
    OutputError
        If the place cannot be written.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shelter = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            draft = shelter / path.name
            yield draft
            if path.is_dir() and draft.is_dir():
                old = shelter / "old"
                os.replace(path, old)
            os.replace(draft, path)
        finally:
            shutil.rmtree(shelter, ignore_errors=True)


def file_digest(path: str | Path) -> str:
    """Digest a file's content: its SHA-256, 64 hexadecimal digits, as ``sha256sum`` says."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, beside it first and then moved into place."""
    with moved_into_place(path) as draft:
        draft.write_text(text, encoding="utf-8")
