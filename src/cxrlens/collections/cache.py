"""Decode and repair every film once, into a memory-mapped array that training reads at memory speed.

A film's place is keyed by the bytes of its file and by the version of the chain and its detectors, so a
changed file or setting is noticed, and copies and several collections share the work. The store only grows:
pixels are appended first, then the line of the index that makes them count, so a build that is
interrupted anywhere goes on where it stopped.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.errors import FilmError
from cxrlens.quality.chain import Chain
from cxrlens.radiographs.read import decode_radiograph, read_bytes
from cxrlens.writing import explained

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

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]
    findings: pd.DataFrame
    failures: dict[str, str]


def default_folder() -> Path:
    """Where caches lie: ``$CXRLENS_CACHE``, else ``$XDG_CACHE_HOME/cxrlens``, else ``~/.cache/cxrlens``."""
    if own := os.environ.get("CXRLENS_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxrlens"


def cache_films(
    images: Sequence[str],
    chain: Chain,
    folder: Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
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
        tasks = iter(enumerate(images))
        done = 0
        while batch := list(islice(tasks, _CHUNK)):
            prepared = pool.map(lambda task: store.prepare(task[1]), batch)
            for (place, image), item in zip(batch, prepared, strict=True):
                if isinstance(item, FilmError):
                    failures[image] = str(item)
                else:
                    rows[place], findings[place] = store.keep(item)
                done += 1
                if progress:
                    progress(done, len(images))
            store.commit()
        pixels = store.mapped()
    return CachedFilms(pixels, rows, pd.DataFrame(findings), failures)


@dataclass(frozen=True)
class _Prepared:
    stamp: tuple[str, int, int]
    key: str
    pixels: NDArray[np.uint8] | None
    findings: Mapping[str, object]


class _Store:
    """One chain's films: ``pixels.u8``, and an index of JSON lines.

    A line ``{"key", "row", "findings"}`` makes a row of pixels count; a line ``{"file", "size", "mtime",
    "key"}`` remembers a file's content, so that an unchanged file need not be read again.
    """

    def __init__(self, folder: Path, chain: Chain) -> None:
        self.folder = folder
        self.chain = chain
        self.film_bytes = chain.side**2
        self.rows: dict[str, tuple[int, Mapping[str, object]]] = {}
        self.files: dict[tuple[str, int, int], str] = {}
        self._pending: list[bytes] = []

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Lock the store against other builds, read its index, cut off what no line counts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (
            (self.folder / "lock").open("w") as lock,
            (self.folder / "pixels.u8").open("ab") as self._pixels,
            (self.folder / "index.jsonl").open("a+b") as self._index,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._read_index()
            self._pixels.truncate(len(self.rows) * self.film_bytes)
            yield

    def _read_index(self) -> None:
        available = (self.folder / "pixels.u8").stat().st_size // self.film_bytes
        whole = 0
        self._index.seek(0)
        for line in self._index:
            try:
                entry = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n") or entry.get("row", -1) >= available:
                break
            if "row" in entry:
                self.rows[entry["key"]] = (entry["row"], entry["findings"])
            else:
                self.files[(entry["file"], entry["size"], entry["mtime"])] = entry["key"]
            whole += len(line)
        self._index.truncate(whole)
        self._index.seek(0, os.SEEK_END)

    def prepare(self, image: str) -> _Prepared | FilmError:
        """Hash a film and, if its content is new, decode and repair it. Runs in a worker."""
        path = Path(image)
        try:
            status = path.stat() if path.exists() else None
            stamp = (
                (str(path), status.st_size, status.st_mtime_ns) if status else (str(path), -1, -1)
            )
            known = self.files.get(stamp)
            if known in self.rows:
                return _Prepared(stamp, known, None, {})
            data = read_bytes(path)
            key = hashlib.blake2b(data, digest_size=16).hexdigest()
            if key in self.rows:
                return _Prepared(stamp, key, None, {})
            examination = self.chain.examine(decode_radiograph(data, image))
            return _Prepared(stamp, key, examination.pixels, examination.row())
        except FilmError as error:
            return error

    def keep(self, item: _Prepared) -> tuple[int, Mapping[str, object]]:
        """Append what a worker prepared; return its row and findings."""
        if item.key not in self.rows:
            assert item.pixels is not None
            self._pixels.write(np.ascontiguousarray(item.pixels).data)
            self.rows[item.key] = (len(self.rows), item.findings)
            self._line(key=item.key, row=len(self.rows) - 1, findings=item.findings)
        if self.files.get(item.stamp) != item.key:
            self.files[item.stamp] = item.key
            file, size, mtime = item.stamp
            self._line(file=file, size=size, mtime=mtime, key=item.key)
        return self.rows[item.key]

    def _line(self, **entry: object) -> None:
        self._pending.append(json.dumps(entry).encode() + b"\n")

    def commit(self) -> None:
        """Let what was appended count: pixels reach the disk before the lines that name them."""
        self._pixels.flush()
        os.fsync(self._pixels.fileno())
        self._index.writelines(self._pending)
        self._index.flush()
        self._pending.clear()

    def mapped(self) -> NDArray[np.uint8]:
        """Map the pixels of all rows, read-only."""
        shape = (len(self.rows), self.chain.side, self.chain.side)
        if not self.rows:
            return np.empty(shape, np.uint8)
        return np.memmap(self.folder / "pixels.u8", np.uint8, "r", shape=shape)
