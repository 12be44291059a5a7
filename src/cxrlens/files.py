"""Files: written beside their place and moved into it, locked for one process, read back through one door."""

import contextlib
import errno
import functools
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from cxrlens.errors import CxrlensError, OutputError

STDOUT = Path("-")
"""The name of a file that is printed."""

Held = AbstractContextManager[object]
"""A lock that is held, until the end of a `with` block over it, or of the process."""

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
    errno.ENOTDIR: "a part of its path is a file",
    errno.EEXIST: "a part of its path is a file",
    errno.ENAMETOOLONG: "its name is too long",
}

_SHELTER = ".cxrlens-"
_LOCK, _OLD = "lock-of-cxrlens", "old-of-cxrlens"
_SWEPT: set[Path] = set()


def refuse_existing(path: Path, force: bool = False) -> None:
    """Refuse a place for a file before the work for it is done.

    A folder is never replaced by a file; what is printed replaces nothing.

    Raises
    ------
    OutputError
        If a file exists and the user did not say that it may be replaced, or nothing can be written there.
    """
    if path == STDOUT:
        return
    with explained(path):
        if path.is_dir():
            raise OutputError(f"{path} is a folder: name a file in it")
        if path.exists() and not force:
            raise OutputError(f"{path} exists already: choose another place, or say --force")
        _try_to_write(_there(path.parent))


def refuse_filled(folder: Path, force: bool = False) -> None:
    """Refuse a place for a folder before the work for it is done.

    Raises
    ------
    OutputError
        If the folder holds something and the user did not say that it may be replaced, or nothing can be
        written there.
    """
    with explained(folder):
        # A file in its place says here that it is no folder.
        occupied = folder.exists() and any(folder.iterdir())
        if occupied and not force:
            raise OutputError(f"{folder} exists already: choose another place, or say --force")
        _try_to_write(_there(folder.parent))


def _there(folder: Path) -> Path:
    """Return the nearest folder above that is there already, in which the others would be made."""
    return next((one for one in (folder, *folder.parents) if one.exists()), folder)


@functools.cache
def _try_to_write(folder: Path) -> None:
    """Write a file of no name and no bytes: what a system's rights say is not all that keeps one from it."""
    with tempfile.TemporaryFile(dir=folder):
        pass


def short_stem(path: Path, longest: int = 120) -> str:
    """Return a file's name without its suffix, cut so that names made of it fit any file system.

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
    """Yield a temporary path beside `path`; move it there when the block ends well.

    Parameters
    ----------
    path
        The file or folder to write. Its parent folders are made. What killed processes left of earlier
        writing beside it is removed. `STDOUT`: a file of text, which is printed when the block ends well.
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
    if path == STDOUT:
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder, "printed")
            yield draft
            sys.stdout.write(draft.read_text("utf-8"))
        return
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        shelter, held = _shelter(path.parent)
        try:
            with held:
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
def put_aside(folder: Path) -> Iterator[None]:
    """Put a folder that holds something aside while the block makes another in its place.

    When the block ends well it is removed; if the block raises, it is put back, and what the block made goes.

    Raises
    ------
    OutputError
        If it cannot be moved.
    """
    if not (folder.is_dir() and any(folder.iterdir())):
        yield
        return
    with explained(folder):
        _sweep(folder.parent)
        shelter, held = _shelter(folder.parent)
    try:
        with held, explained(folder):
            (shelter / _OLD).touch()  # tells `_sweep` to put back what lies beside it
            os.replace(folder, shelter / folder.name)
            try:
                yield
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(shelter / folder.name, folder)
                raise
    finally:
        shutil.rmtree(shelter, ignore_errors=True)


def _shelter(folder: Path) -> tuple[Path, Held]:
    """Make a folder to write in, locked as long as a process is at work in it."""
    while True:
        shelter = Path(tempfile.mkdtemp(prefix=_SHELTER, dir=folder))
        try:
            held = _lock_at_once(shelter / _LOCK)
        except FileNotFoundError:
            continue  # another process swept it before it was locked
        except OSError:
            return shelter, contextlib.nullcontext()  # this file system knows no locks
        if held:
            return shelter, held


def _sweep(folder: Path) -> None:
    """Remove what killed processes left of their writing in a folder; look once a process and folder.

    One that was killed while a folder took another's place has left none there: it is put there now.
    """
    if folder in _SWEPT:
        return
    _SWEPT.add(folder)
    with os.scandir(folder) as entries:
        left = [Path(entry) for entry in entries if entry.name.startswith(_SHELTER)]
    for shelter in left:
        with contextlib.suppress(OSError):
            held = _lock_at_once(shelter / _LOCK)
            if held is None:
                continue
            with held:
                parts = set(os.listdir(shelter)) - {_LOCK}
                if _OLD in parts and (new := parts - {_OLD}):
                    target = folder / new.pop()
                    if not target.exists():
                        os.replace(shelter / target.name, target)
                shutil.rmtree(shelter, ignore_errors=True)
            shutil.rmtree(shelter, ignore_errors=True)  # Windows keeps a file that is open


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
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return _lock_at_once(path)


def _lock_at_once(path: Path) -> Held | None:
    with contextlib.suppress(Timeout):
        return FileLock(path, thread_local=False).acquire(timeout=0)
    return None


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


LARGEST = 64 * 2**20
"""Bytes of a JSON file of ours; the largest known, the digests of 100,000 films, has 2 MB."""

Shape = TypeVar("Shape", bound=BaseModel)


def own_bytes(path: Path, fault: type[CxrlensError], way_out: str, largest: int = LARGEST) -> bytes:
    """Read a file that cxrlens wrote.

    Parameters
    ----------
    path
        The file.
    fault
        What to raise.
    way_out
        What the user can do, the end of the sentence.
    largest
        Bytes that it may have.

    Raises
    ------
    CxrlensError
        The `fault`, if it cannot be read or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise fault(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > largest:
        raise fault(f"{path} has more than {largest:,} bytes, as none of ours has: {way_out}")
    return data


def own_text(path: Path, fault: type[CxrlensError], way_out: str, largest: int = LARGEST) -> str:
    """Read a text file that cxrlens wrote; see `own_bytes`."""
    data = own_bytes(path, fault, way_out, largest)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise fault(f"{path} is damaged at byte {error.start}, no UTF-8: {way_out}") from error


def own_json(path: Path, shape: type[Shape], fault: type[CxrlensError], way_out: str) -> Shape:
    """Read a JSON file that cxrlens wrote; see `own_bytes`.

    Parameters
    ----------
    shape
        What it must hold.
    """
    data = own_bytes(path, fault, way_out)
    try:
        # Not pydantic's own reading of JSON, which lets NaN and Infinity pass.
        content = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise fault(f"{path} is damaged, no JSON ({error}): {way_out}") from error
    return of_shape(content, shape, str(path), fault, way_out)


def of_shape(
    content: Any, shape: type[Shape], origin: str, fault: type[CxrlensError], way_out: str
) -> Shape:
    """Hold plain values against the shape that they were written in; `origin` names them in the sentence."""
    try:
        return shape.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))[:100]
        message = first["msg"].removeprefix("Value error, ")[:200]
        if first["type"] == "model_type":  # pydantic would name our class
            message = "it must be a mapping"
        at = f" at {place}" if place else ""
        raise fault(
            f"{origin} is damaged{at}: {message[0].lower()}{message[1:]}; {way_out}"
        ) from error
