"""Films that are in a table twice, found by what they hold, whatever the table says of them.

Sets are merged, copied and saved anew, and one film then stands there under two names, two patients or
two labels. All its copies have to go into one split, and with two labels nothing can be learnt from it.
Films that merely resemble each other are no concern of this module.

"The same" is an array of numbers, one a film in the table's order: films with equal numbers are the same.
"""

import hashlib
import os
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.collections.tables import persons
from cxrlens.errors import CollectionError, FilmError
from cxrlens.files import file_digest
from cxrlens.progress import Progress, counted
from cxrlens.radiographs.grey import Film
from cxrlens.radiographs.read import read_radiograph

Same = NDArray[np.int64]

_READERS = 16
"""Threads that read files: more than cores, since they wait for the disk."""


def same_bytes(images: Sequence[str]) -> Same:
    """Find films whose files hold the same bytes; only files of one size are read.

    Parameters
    ----------
    images
        Paths. A film that is missing or cannot be read is the same as none.

    Examples
    --------
    >>> film = "images/P00001_1.png"
    >>> same_bytes([film, "images/P00002_1.jpg", film]).tolist()
    [0, 1, 0]
    """
    with ThreadPoolExecutor(_READERS) as pool:
        sizes = [*pool.map(_size, images)]
        shared = pd.Series(sizes).duplicated(keep=False).to_numpy(bool)
        asked = [place for place, size in enumerate(sizes) if shared[place] and size]
        digests = pool.map(lambda place: _digest_if_there(images[place]), asked)
        return _numbered(len(images), zip(asked, digests, strict=True))


def same_pixels(images: Sequence[str], progress: Progress | None = None) -> Same:
    """Find films that look the same to the last pixel, in whatever format they are saved.

    Every film is decoded, so this takes a thousand times as long as `same_bytes`.

    Parameters
    ----------
    images
        Paths. Of a film that cannot be decoded, or is of one grey level, the bytes count.
    progress
        Called with films done and films in all.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        keys = counted(pool.map(_pixels_key, images), len(images), progress)
        return _numbered(len(images), enumerate(keys))


def same_rows(pixels: Film, rows: NDArray[np.int64]) -> Same:
    """Find films that look the same to the last pixel in the film cache.

    Parameters
    ----------
    pixels, rows
        As in `cxrlens.collections.cache.CachedFilms`; a film without a row is the same as none.
    """
    held = [int(row) for row in np.unique(rows[rows >= 0])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        key_of = dict(zip(held, pool.map(lambda row: pixel_key(pixels[row]), held), strict=True))
    # Files with the same bytes share a row, so the row itself counts where the pixels say nothing.
    keys = ((place, key_of[row] or row) for place, row in enumerate(rows.tolist()) if row >= 0)
    return _numbered(len(rows), keys)


def same_keys(keys: pd.Series) -> Same:
    """Find films with the same key (see `pixel_key`); one without a key is the same as none."""
    return _numbered(len(keys), enumerate(keys.fillna("").tolist()))


def pixel_key(film: Film) -> str:
    """Digest size and pixels of a (H, W) film; empty if all are of one grey level, as of a blank sheet."""
    if film.min() == film.max():
        return ""
    found = hashlib.blake2b(str(film.shape).encode(), digest_size=16)
    found.update(np.ascontiguousarray(film).data)
    return found.hexdigest()


def people(films: pd.DataFrame, same: Same) -> pd.Series:
    """Return whose each film is: patients who share a film, or a name however it is written, are one.

    Returns
    -------
    Series of string
        The first by name of the patients that are one; a film without a patient is its own.
    """
    patient = films["patient"] if "patient" in films else films["image"]
    codes, names = pd.factorize(patient.astype("string").fillna(films["image"]), sort=True)
    _, first, film = np.unique(same, return_index=True, return_inverse=True)
    one_film = np.stack([codes, codes[first[film]]], axis=1)
    person, _ = pd.factorize(persons(pd.Series(names)))
    _, written = np.unique(person, return_index=True)
    one_name = np.stack([np.arange(len(names)), written[person]], axis=1)
    one = joined(len(names), np.concatenate([one_film, one_name]))
    return pd.Series(names[one[codes]], films.index, "string")


def joined(count: int, pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """Join numbers that stand in one pair, directly or by way of others.

    Parameters
    ----------
    count
        Numbers from 0 on.
    pairs
        (P, 2).

    Returns
    -------
    ndarray of intp
        (count,), for each number the lowest to which it is joined.

    Examples
    --------
    >>> joined(5, np.array([[3, 4], [1, 3]])).tolist()
    [0, 1, 2, 1, 1]
    """
    lowest = np.arange(count)
    before = lowest - 1
    while (lowest != before).any():
        before = lowest.copy()
        np.minimum.at(lowest, pairs[:, ::-1], before[pairs])
    return lowest


def told(films: pd.DataFrame, same: Same) -> list[str]:
    """List films that are there twice, and of what contradicts itself, a sentence each."""
    groups = _groups(same)
    if not groups:
        return []
    count = sum(map(len, groups))
    said = [
        f"{count} files hold {len(groups)} films, each there more than once: {_pair(films, groups[0])}"
    ]
    return said + [
        f"{len(odd)} of them with more than one {column}: {_pair(films, odd[0], column)}"
        for column in ("label", "patient", "split")
        if (odd := _differing(films, groups, column))
    ]


def refuse_contradictions(films: pd.DataFrame, same: Same) -> None:
    """Refuse to learn from a film that has two labels, or stands in two splits.

    Raises
    ------
    CollectionError
        If there is one; the sentence names two of its files.
    """
    groups = _groups(same)
    for column, wrong, way_out in (
        ("label", "with two labels", "correct the labels, or drop those films"),
        ("split", "in two splits", "cxrlens split --pixels deals all copies of a film into one"),
    ):
        if odd := _differing(films, groups, column):
            pair = _pair(films, odd[0], column)
            raise CollectionError(f"{len(odd)} films are there twice {wrong}: {pair}; {way_out}")


def _size(image: str) -> int:
    try:
        return os.stat(image).st_size
    except (OSError, ValueError):
        return 0


def _digest_if_there(image: str) -> str:
    try:
        return file_digest(image)
    except OSError:
        return ""


def _pixels_key(image: str) -> str:
    try:
        key = pixel_key(read_radiograph(image))
    except FilmError:
        key = ""
    return key or _digest_if_there(image)


def _numbered(count: int, keys: Iterable[tuple[int, Hashable]]) -> Same:
    """Return numbers of films by their keys; one without a key, or with an empty one, has its own."""
    same = np.arange(count)
    first: dict[Hashable, int] = {}
    for place, key in keys:
        if key != "":
            same[place] = first.setdefault(key, place)
    return same


def _groups(same: Same) -> list[list[int]]:
    """Places of the films of each that is there more than once, in the table's order."""
    found = pd.Series(same).groupby(same, sort=False).indices
    return [[*map(int, places)] for places in found.values() if len(places) > 1]


def _differing(films: pd.DataFrame, groups: list[list[int]], column: str) -> list[list[int]]:
    if column not in films:
        return []
    return [group for group in groups if films[column].iloc[group].nunique() > 1]


def _pair(films: pd.DataFrame, group: list[int], column: str = "") -> str:
    """Name two files of a group, that differ in a column if one is given."""
    images = films["image"]
    if not column:
        return f"{images.iloc[group[0]]} and {images.iloc[group[1]]}"
    known = [place for place in group if not pd.isna(films[column].iloc[place])]
    value = films[column].iloc
    other = next(place for place in known if value[place] != value[known[0]])
    return " and ".join(f"{images.iloc[place]} ({value[place]})" for place in (known[0], other))
