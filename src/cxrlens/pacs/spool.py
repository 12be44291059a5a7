"""The spool: films and results on the disk, each step of their way one atomic move."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import RootModel

from cxrlens.errors import OutputError
from cxrlens.files import explained, own_json, try_lock


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


def lay(target: Path, data: bytes, drafts: Path) -> None:
    """Write a file whole, in the place of what may be there; its draft lies in another folder meanwhile."""
    draft = drafts / f"{target.name}.part"
    draft.unlink(missing_ok=True)
    write_durably(draft, data)
    move_durably(draft, target)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


RESERVE = 256 * 2**20
"""Bytes that stay free for results, so that a flood of films cannot keep its own results from the disk."""

RECEIPT = "receipt.json"
"""Beside the results: what their receipt will say."""


MARK = "a spool of cxrlens dicom-node\n"
"""Content of the lock of a spool."""


def key_of(uid: str) -> str:
    """Return what a film is called in the spool and in the log: 24 hexadecimal digits."""
    return hashlib.sha256(uid.encode()).hexdigest()[:24]


class Spool:
    """A spool folder, held by one process at a time.

    Parameters
    ----------
    folder
        Made if it does not exist; empty, or a spool. What lies in it is readable by its owner only. All of it
        on one local file system.
    reserve
        Films are refused while fewer bytes are free on its disk.

    Raises
    ------
    OutputError
        If it cannot be written, another process works on it, or it holds other files.
    """

    def __init__(self, folder: Path, reserve: int = RESERVE) -> None:
        self.folder = folder
        self.reserve = reserve
        self.incoming, self.waiting = folder / "incoming", folder / "waiting"
        self.results, self.done = folder / "results", folder / "done"
        self.failed = folder / "failed"
        with explained(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = folder / "lock"
            _refuse_strangers(folder, lock)
            held = try_lock(lock)
            if held is None:
                raise OutputError(f"{folder} is in use by another node: give each its own spool")
            self._held = contextlib.ExitStack()
            self._held.enter_context(held)
            if not lock.stat().st_size:
                lock.write_text(MARK, encoding="utf-8")
            for place in (self.incoming, self.waiting, self.results, self.done, self.failed):
                place.mkdir(exist_ok=True)
                place.chmod(0o700)
            for left in self.incoming.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            sync_folder(folder)

    def close(self) -> None:
        """Let another process have the folder."""
        self._held.close()

    def receive(self, key: str, film: bytes) -> None:
        """Put a film on the disk; when this returns it is safe, and may be acknowledged.

        A film that waits already stays as it is.

        Raises
        ------
        OutputError
            If there is no room; nothing of the film is left.
        """
        target = self.waiting / f"{key}.dcm"
        if target.exists():
            sync_folder(self.waiting)
            return
        with explained(target):
            if shutil.disk_usage(self.folder).free < self.reserve + len(film):
                raise OutputError(f"{self.folder} has no room for another film: free the disk")
            self._lay(target, film)

    def pixels(self, key: str) -> str | None:
        """Return the digest of the pixels that a key stands for; None if it is not known.

        It may wait, be on its way out as results, or have a receipt.
        """
        # pydicom takes longer to load than everything else here.
        from cxrlens.pacs.header import pixels_of

        try:
            with (self.waiting / f"{key}.dcm").open("rb") as film:
                return pixels_of(film)
        except FileNotFoundError:
            pass
        for receipt in (self.results / key / RECEIPT, self.done / f"{key}.json"):
            digest = _content(receipt).get("pixels")
            if isinstance(digest, str):
                return digest
        return None

    def films(self, most: int, but: Collection[str] = ()) -> list[Path]:
        """List films that wait, the oldest first.

        Parameters
        ----------
        most
            No more than so many.
        but
            Keys to leave out.
        """
        found = [path for path in self.waiting.glob("*.dcm") if path.stem not in but]
        return sorted(found, key=_age)[:most]

    def has_results(self, key: str) -> bool:
        """Return whether results of a film are on their way."""
        return (self.results / key).is_dir()

    def keep_results(self, key: str, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
        """Lay a film's results out for delivery; then the film itself is let go.

        Parameters
        ----------
        key
            The film.
        files
            Name and content of each result; they are delivered in the order of their names.
        facts
            For the receipt.

        Raises
        ------
        OutputError
            If the disk is full; the film waits as before.
        """
        with explained(self.results):
            draft = Path(tempfile.mkdtemp(dir=self.incoming))
            try:
                for name, data in files.items():
                    write_durably(draft / name, data)
                write_durably(draft / RECEIPT, _json(facts))
                sync_folder(draft)
                move_durably(draft, self.results / key)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
            for suffix in (".dcm", ".txt"):
                (self.failed / f"{key}{suffix}").unlink(missing_ok=True)
            self.drop(key)

    def drop(self, key: str) -> None:
        """Let a film go whose results are in the spool."""
        (self.waiting / f"{key}.dcm").unlink(missing_ok=True)
        sync_folder(self.waiting)

    def put_aside(self, source: Path, sentence: str) -> None:
        """Put a film, or results that the destination will not have, aside with the reason beside them.

        Raises
        ------
        OutputError
            If the disk is full; they wait as before.
        """
        target = self.failed / source.name
        with explained(self.failed):
            self._lay(self.failed / f"{source.stem}.txt", f"{sentence}\n".encode())
            shutil.rmtree(target, ignore_errors=True)
            if source.exists():
                move_durably(source, target)
                sync_folder(source.parent)

    def parcels(self) -> list[Path]:
        """List folders of results that wait for delivery, the oldest first."""
        return sorted((path for path in self.results.iterdir() if path.is_dir()), key=_age)

    @staticmethod
    def unsent(parcel: Path) -> list[Path]:
        """List the results in a folder that are not delivered yet, in their order."""
        return sorted(parcel.glob("*.dcm"))

    def sent(self, result: Path) -> None:
        """Let one file of results go that the destination has."""
        result.unlink()
        sync_folder(result.parent)

    def delivered(self, key: str, facts: Mapping[str, Any]) -> None:
        """Write the receipt of a film whose results are all delivered.

        Parameters
        ----------
        key
            The film.
        facts
            What the receipt says beside what `keep_results` was told.

        Raises
        ------
        OutputError
            If the disk is full; the emptied folder of results stays and is tried again.
        """
        parcel = self.results / key
        with explained(self.done):
            content = {**_content(parcel / RECEIPT), **facts}
            self._lay(self.done / f"{key}.json", _json(content))
            # Removed in place, it could end half-way, as results without what their receipt says.
            trash = self.incoming / key
            os.replace(parcel, trash)
            sync_folder(self.results)
            shutil.rmtree(trash)
            (self.failed / f"{key}.txt").unlink(missing_ok=True)

    def receipt(self, key: str) -> dict[str, Any]:
        """Read the receipt of an earlier delivery; empty if there is none."""
        return _content(self.done / f"{key}.json")

    def forget_receipts(self, days: float) -> int:
        """Remove receipts older than so many days; return how many."""
        old = [p for p in self.done.glob("*.json") if time.time() - _age(p) > days * 86400]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def counts(self) -> dict[str, int]:
        """Count films waiting, results waiting for delivery, and failures."""
        return {
            "waiting": sum(1 for _ in self.waiting.glob("*.dcm")),
            "results": len(self.parcels()),
            "failed": sum(1 for _ in self.failed.glob("*.txt")),
        }

    def _lay(self, target: Path, data: bytes) -> None:
        lay(target, data, self.incoming)


def _refuse_strangers(folder: Path, lock: Path) -> None:
    """Raise `OutputError` for a folder with files in it that is no spool: films would be mixed with them."""
    others = [path for path in folder.iterdir() if path.name not in ("lock", "lost+found")]
    marked = lock.is_file() and lock.read_bytes() == MARK.encode()
    if others and not marked:
        raise OutputError(
            f"{folder} holds {others[0].name} and is no spool: name an empty or a new folder"
        )


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _content(path: Path) -> dict[str, Any]:
    """Read what a receipt says; a damaged one says nothing, and its film counts as new."""
    return noted(path, RootModel[dict[str, Any]]) or {}


Content = TypeVar("Content")


def noted(path: Path, shape: type[RootModel[Content]]) -> Content | None:
    """Read a small file of the node's own; None where it is damaged, or not there."""
    try:
        return own_json(path, shape, OutputError, "").root
    except OutputError:
        return None


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
