"""Files: outputs are written beside their place and moved into it, so that nothing is lost half-way.

A reader sees the old file or the new one, never a part; an existing file stays unless the user
said ``--force``.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

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

_SHELTER = re.compile(r"\..+\.[a-z0-9_]{8}", re.DOTALL)
_LOCK, _OLD = "lock-of-cxrlens", "old-of-cxrlens"
_SWEPT: set[Path] = set()


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
def moved_into_place(path: Path, private: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there when the block ends well.

    Parameters
    ----------
    path
        The file or folder to write. Its parent folders are made. What killed processes left of earlier
        writing beside it is removed.
    private
        Whether only the owner may read the file.

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
        _sweep(path.parent)
        shelter = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            with _held(shelter):
                draft = shelter / path.name
                yield draft
                if private:
                    draft.chmod(0o600)
                if path.is_dir() and draft.is_dir():
                    os.replace(path, shelter / _OLD)
                    try:
                        os.replace(draft, path)
                    except OSError:
                        os.replace(shelter / _OLD, path)
                        raise
                else:
                    os.replace(draft, path)
        finally:
            shutil.rmtree(shelter, ignore_errors=True)


@contextlib.contextmanager
def _held(shelter: Path) -> Iterator[None]:
    """Say for a block that a process is at work in a shelter, as a lock that ends with the process."""
    unheld = shelter / f"{_LOCK}.new"
    with unheld.open("wb") as file:
        _lock(file)
        # Only now, so that nobody else can lock it first.
        os.replace(unheld, shelter / _LOCK)
        yield


def _lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; False if another holds it, or the file system knows no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove what killed processes left of their writing in a folder; look once a process and folder.

    One that was killed while a folder took another's place has left none there: it is put there now.
    """
    if folder in _SWEPT:
        return
    _SWEPT.add(folder)
    with os.scandir(folder) as entries:
        left = [Path(entry) for entry in entries if _SHELTER.fullmatch(entry.name)]
    for shelter in left:
        with contextlib.suppress(OSError), (shelter / _LOCK).open("r+b") as file:
            if not _lock(file):
                continue
            name = shelter.name[1:-9]
            target, parts = folder / name, set(os.listdir(shelter))
            if _OLD in parts and not target.exists():
                os.replace(shelter / (name if name in parts else _OLD), target)
            shutil.rmtree(shelter, ignore_errors=True)


def private_folder(path: Path) -> None:
    """Make a folder that only its owner can look into; one that is there stays as it is."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def file_digest(path: str | Path) -> str:
    """Digest a file's content: its SHA-256, 64 hexadecimal digits, as ``sha256sum`` says."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, beside it first and then moved into place."""
    with moved_into_place(path) as draft:
        draft.write_text(text, encoding="utf-8")
