"""Decode and repair every film once, into a memory-mapped array that training reads at memory speed.

A film's place is keyed by the bytes of its file and by the version of the chain and its detectors, so a
changed file or setting is noticed, and copies and several collections share the work. The store only grows:
pixels are appended first, then the line of the index that makes them count, so a build that is
interrupted anywhere goes on where it stopped, and a line of the index that was damaged costs only its film's
work. The index has the films' paths: folders that are made for it are their owner's alone.
"""

import contextlib
import hashlib
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from cxrlens.errors import FilmError, OutputError
from cxrlens.files import explained, lock, moved_into_place, private_folder
from cxrlens.progress import Progress, in_batches
from cxrlens.quality.chain import Chain, examined
from cxrlens.radiographs.grey import Film
from cxrlens.radiographs.read import decode_film, read_bytes

LAYOUT = 1
"""Of a store; a line of its index that names another one was written by a later cxrlens."""

_CHUNK = 256
"""Films between two writes of the index: what an interrupted build has to do again."""


@dataclass(frozen=True)
class CachedFilms:
    """Films as a network sees them.

    Attributes
    ----------
    pixels
        Memory map (M, side, side) uint8 of the whole store, read-only.
    rows
        For each film that was asked for, its row in `pixels`; -1 where it could not be read.
    findings
        One row a film that was asked for: the findings columns.
    failures
        Image and sentence of each film that could not be read.
    """

    pixels: Film
    rows: NDArray[np.int64]
    findings: pd.DataFrame
    failures: dict[str, str]


def default_folder() -> Path:
    """Return ``$CXRLENS_CACHE``, else the folder ``cxrlens`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("CXRLENS_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxrlens"


def cache_films(
    images: Sequence[str],
    chain: Chain,
    folder: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CachedFilms:
    """Bring films into the cache and say where they are.

    Parameters
    ----------
    images
        Paths of films.
    chain
        What each film goes through; its name, version and side choose the store.
    folder
        Holds all stores; default `default_folder`.
    workers
        Threads that decode and repair; default one a core. (OpenCV and Pillow release the lock.)
    progress
        Called with films done and films in all.

    Raises
    ------
    OutputError
        If the store cannot be written. A film that cannot be read is no error: see
        `CachedFilms.failures`.
    """
    store = _Store((folder or default_folder()) / chain.findings_version, chain)
    rows = np.full(len(images), -1, dtype=np.int64)
    findings: list[Mapping[str, object]] = [{} for _ in images]
    failures: dict[str, str] = {}
    with (
        explained(store.folder),
        store.opened(),
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
    ):
        for part in in_batches(len(images), _CHUNK):
            prepared = zip(images[part], pool.map(store.prepare, images[part]), strict=True)
            for place, (image, item) in enumerate(prepared, part.start):
                if isinstance(item, FilmError):
                    failures[image] = str(item)
                else:
                    rows[place], findings[place] = store.keep(item)
                if progress:
                    progress(place + 1, len(images))
            store.commit()
        pixels = store.mapped()
    return CachedFilms(pixels, rows, pd.DataFrame(findings), failures)


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    key: str = Field(pattern=r"^[0-9a-f]{32}$")
    check: str = ""


class _Film(_Line):
    row: int = Field(ge=0)
    findings: dict[str, bool | int | float | str | None]


class _File(_Line):
    file: str
    size: int = Field(ge=-1)
    mtime: int


_LINE: TypeAdapter[_Film | _File] = TypeAdapter(_Film | _File)
_CHECK = b', "check": "'


def _sealed(line: bytes) -> bytes:
    body = line.removesuffix(b"}")
    return body + _CHECK + b'%08x"}\n' % zlib.crc32(body)


def _entry(line: bytes) -> _Film | _File | None:
    """Read a line of the index; None if it is damaged, or was cut off."""
    body, mark, check = line.rpartition(_CHECK)
    if not line.endswith(b"\n") or (mark and check != b'%08x"}\n' % zlib.crc32(body)):
        return None
    try:
        return _LINE.validate_json(line)
    except ValidationError:
        return None


@dataclass(frozen=True)
class _Prepared:
    stamp: tuple[str, int, int]
    key: str
    pixels: Film | None
    findings: Mapping[str, object]


class _Store:
    """One chain's films: ``pixels.u8``, and an index of JSON lines.

    A line ``{"key", "row", "findings"}`` makes a row of pixels count; a line ``{"file", "size", "mtime",
    "key"}`` remembers a file's content, so that an unchanged file need not be read again. Each ends with
    ``"check"``, the CRC-32 of what stands before it; lines of earlier versions have none.
    """

    def __init__(self, folder: Path, chain: Chain) -> None:
        self.folder = folder
        self.chain = chain
        self.film_bytes = chain.side**2
        self.rows: dict[str, tuple[int, Mapping[str, object]]] = {}
        self.files: dict[tuple[str, int, int], str] = {}
        self._next = 0
        self._pending: list[bytes] = []

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Lock the store against other builds, read its index, cut off what no line counts."""
        private_folder(self.folder.parent)
        private_folder(self.folder)
        with (
            lock(self.folder / "lock"),
            (self.folder / "pixels.u8").open("ab") as self._pixels,
        ):
            self._read_index()
            with (self.folder / "index.jsonl").open("ab") as self._index:
                self._pixels.truncate(self._next * self.film_bytes)
                yield

    def _read_index(self) -> None:
        """Read what counts; a line that is damaged is passed over, and its film decoded again."""
        index = self.folder / "index.jsonl"
        available = (self.folder / "pixels.u8").stat().st_size // self.film_bytes
        lines = index.read_bytes().splitlines(keepends=True) if index.exists() else []
        films: dict[bytes, _Film] = {}
        files: dict[bytes, _File] = {}
        for line in lines:
            entry = _entry(line)
            if isinstance(entry, _File):
                files[line] = entry
            elif isinstance(entry, _Film) and entry.row < available:
                films[line] = entry
            elif b'"layout"' in line:
                self._refuse_other_layout(line)
        # Of lines that contradict each other it is not known which one is right.
        rows = Counter(film.row for film in films.values())
        keys = Counter(film.key for film in films.values())
        columns = Counter(frozenset(film.findings) for film in films.values()).most_common(1)
        films = {
            line: film
            for line, film in films.items()
            if rows[film.row] == keys[film.key] == 1 and set(film.findings) == columns[0][0]
        }
        self.rows = {film.key: (film.row, film.findings) for film in films.values()}
        self.files = {(file.file, file.size, file.mtime): file.key for file in files.values()}
        self._next = 1 + max((film.row for film in films.values()), default=-1)
        kept = [line for line in lines if line in films or line in files]
        if len(kept) < len(lines):
            # A line whose row is not there must not come to count when the pixels have grown.
            with moved_into_place(index, private=True) as draft:
                draft.write_bytes(b"".join(kept))

    def _refuse_other_layout(self, line: bytes) -> None:
        with contextlib.suppress(ValueError):
            told = from_json(line)
            if isinstance(told, dict) and told.get("layout", LAYOUT) != LAYOUT:
                raise OutputError(
                    f"{self.folder} could not be written: its index is of another cxrlens "
                    f"(layout {str(told['layout'])[:20]}): name another folder with --cache, or remove it"
                )

    def prepare(self, image: str) -> _Prepared | FilmError:
        """Hash a film and, if its content is new, decode and repair it. Runs in a worker."""
        path = Path(image)
        try:
            status = path.stat() if path.exists() else None
            size, mtime = (status.st_size, status.st_mtime_ns) if status else (-1, -1)
            stamp = (str(path), size, mtime)
            known = self.files.get(stamp)
            if known in self.rows:
                return _Prepared(stamp, known, None, {})
            data = read_bytes(path)
            key = hashlib.blake2b(data, digest_size=16).hexdigest()
            if key in self.rows:
                return _Prepared(stamp, key, None, {})
            film = decode_film(data, image)
            examination = examined(film, image, self.chain.examine)
            return _Prepared(stamp, key, examination.pixels, examination.row())
        except FilmError as error:
            return error

    def keep(self, item: _Prepared) -> tuple[int, Mapping[str, object]]:
        """Append what a worker prepared; return its row and findings."""
        if item.key not in self.rows:
            assert item.pixels is not None
            self._pixels.write(np.ascontiguousarray(item.pixels).data)
            self.rows[item.key] = (self._next, item.findings)
            self._line(key=item.key, row=self._next, findings=item.findings)
            self._next += 1
        if self.files.get(item.stamp) != item.key:
            self.files[item.stamp] = item.key
            file, size, mtime = item.stamp
            self._line(file=file, size=size, mtime=mtime, key=item.key)
        return self.rows[item.key]

    def _line(self, **entry: object) -> None:
        self._pending.append(_sealed(json.dumps(entry).encode()))

    def commit(self) -> None:
        """Let what was appended count: pixels reach the disk before the lines that name them."""
        if not self._pending:
            return
        self._pixels.flush()
        os.fsync(self._pixels.fileno())
        self._index.writelines(self._pending)
        self._index.flush()
        self._pending.clear()

    def mapped(self) -> Film:
        """Map the pixels of all rows, read-only."""
        shape = (self._next, self.chain.side, self.chain.side)
        if not self._next:
            return np.empty(shape, np.uint8)
        return np.memmap(self.folder / "pixels.u8", np.uint8, "r", shape=shape)
