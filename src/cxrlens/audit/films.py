"""Every film of a collection read once, its copies under other names, and leaks between splits."""

import hashlib
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.collections.collection import Collection, patient_codes, shared_patients
from cxrlens.collections.same_films import joined, pixel_key
from cxrlens.collections.survey import header_of
from cxrlens.errors import CollectionError
from cxrlens.files import explained
from cxrlens.progress import Progress, in_batches
from cxrlens.radiographs.grey import Film, Floats, Levels, Mask, resize
from cxrlens.radiographs.read import decode_radiograph, look_at_films, read_bytes

SIDE = 128
"""Pixels of the squares on which copies are compared and probes look."""

PART = 256
"""Films that are held at a time."""


class Squares:
    """Squares of films in a file without a name, read a part at a time: many films need no more memory.

    Read like an array (N, 128, 128) uint8: by a place, a slice, whole numbers or a mask.

    Parameters
    ----------
    squares
        (128, 128) uint8 each, or bool; they are taken one after another.

    Raises
    ------
    OutputError
        If the folder for temporary files has no room for them.

    Examples
    --------
    >>> squares = Squares(np.full((SIDE, SIDE), level, np.uint8) for level in range(5))
    >>> len(squares), squares[3][0, 0], squares[1:3][:, 0, 0].tolist(), squares[[4, 0]][:, 9, 9].tolist()
    (5, np.uint8(3), [1, 2], [4, 0])
    """

    def __init__(self, squares: Iterable[Film | Mask]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._count = 0
        for square in squares:
            with explained(Path(tempfile.gettempdir())):
                self._file.write(square.tobytes())
            self._count += 1

    def __len__(self) -> int:
        return self._count

    def __getitem__(
        self, places: int | np.intp | slice | list[int] | NDArray[np.intp] | Mask
    ) -> Film:
        asked = np.arange(self._count)[places]
        chosen = np.atleast_1d(asked)
        out = np.empty((len(chosen), SIDE, SIDE), np.uint8)
        # A run of films that follow each other is one read.
        starts = np.flatnonzero(np.r_[True, np.diff(chosen) != 1][: len(chosen)])
        for start, stop in zip(starts, [*starts[1:], len(chosen)], strict=True):
            self._file.seek(int(chosen[start]) * SIDE * SIDE)
            self._file.readinto(out[start:stop].data)
        return out if asked.ndim else out[0]

    def __iter__(self) -> Iterator[Film]:
        for part in in_batches(self._count, PART):
            yield from self[part]

    def mean(self, places: NDArray[np.intp] | Mask) -> Floats:
        """Average some of them, (128, 128)."""
        chosen = np.arange(self._count)[places]
        total = np.zeros((SIDE, SIDE))
        for part in in_batches(len(chosen), PART):
            total += self[chosen[part]].sum(axis=0)
        return total / len(chosen)


@dataclass(frozen=True)
class Films:
    """Films that could be read.

    Attributes
    ----------
    table
        Their rows of the collection, numbered from 0, with ``film_digest`` and ``pixel_digest``.
    pixels
        (N, 128, 128) uint8, squashed to a square; no defect is repaired, since defects give away too.
    files
        What each file says of itself: ``width``, ``height``, ``format``, ``mode``, ``quality`` (of
        JPEG, 1 to 100, else NaN), ``bytes_per_pixel``.
    failures
        Image and sentence of each film that is gone or cannot be read.
    """

    table: pd.DataFrame
    pixels: Squares
    files: pd.DataFrame
    failures: dict[str, str]

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def labels(self) -> NDArray[np.str_]:
        """Classes (N,), empty where not known."""
        return known(self.table, "label")

    @cached_property
    def sources(self) -> NDArray[np.str_]:
        """Sources (N,), empty where not known."""
        return known(self.table, "source")

    @cached_property
    def patients(self) -> NDArray[np.intp]:
        """A number for each film's patient (N,); one of its own where the patient is not known."""
        return patient_codes(self.table)


def known(table: pd.DataFrame, column: str) -> NDArray[np.str_]:
    """Return a column as text (N,), empty where it is not known or not there."""
    if column not in table:
        return np.full(len(table), "")
    return table[column].fillna("").to_numpy(str)


def read_films(collection: Collection, progress: Progress | None = None) -> Films:
    """Read every film once, in threads.

    Raises
    ------
    CollectionError
        If not one film can be read.
    """

    def look(image: str) -> tuple[dict[str, object], Film]:
        data = read_bytes(image)
        film = decode_radiograph(data, image)
        height, width = film.shape
        digest = hashlib.blake2b(data, digest_size=12).hexdigest()
        facts = header_of(data) | {
            "width": width,
            "height": height,
            "bytes_per_pixel": len(data) / film.size,
            "film_digest": digest,
            # A blank sheet is the same as another only if the file is.
            "pixel_digest": pixel_key(film) or digest,
        }
        return facts, resize(film, SIDE)

    failures = dict(collection.missing)
    facts: dict[str, dict[str, object]] = {}

    def squares() -> Iterator[Film]:
        images = list(collection.films["image"])
        for image, (told, square) in look_at_films(images, look, failures, progress):
            facts[image] = told
            yield square

    pixels = Squares(squares())
    if not facts:
        raise CollectionError(
            f"none of the {len(collection)} films can be read: {next(iter(failures.values()))}"
        )
    files = pd.DataFrame([*facts.values()])
    digests = files[["film_digest", "pixel_digest"]]
    table = collection.films[collection.films["image"].isin([*facts])].reset_index(drop=True)
    return Films(table.assign(**digests), pixels, files.drop(columns=list(digests)), failures)


_SMALL = 20  # side of the pictures that are searched
_DIMENSIONS = 150  # of them after whitening
_CUTS = (0.0, 0.05, 0.10)
_ALIKE = 0.70  # cosine from which a pair is looked at
_MOST = 8  # pairs looked at for a film
_COLUMNS = 8192  # films that a part is held against at a time

# Set on planted copies of 300 real films and on the pairs of 11,101: benchmarks/audit_copies.py.
_SHEAR = 0.02
_FINE = 0.86
_EXPLAINED, _COARSE, _MORE = 0.92, 0.945, 1.3

_EVERYWHERE = np.ones((SIDE, SIDE), np.uint8)

Cut = tuple[float, float, float, float]


class _Candidate(NamedTuple):
    """Film `other` looks like film `one` with a `cut` taken off its top, bottom, left and right."""

    alike: float
    one: int
    other: int
    cut: Cut


def find_copies(films: Films, progress: Progress | None = None) -> pd.DataFrame:
    """Find pairs of films that show one exposure.

    Parameters
    ----------
    films
        As `read_films` reads them.
    progress
        Called with steps done and steps in all.

    Returns
    -------
    DataFrame
        ``one``, ``other`` (rows of the films, one < other), ``kind`` (``same file``, ``same
        pixels``, ``near copy``), ``agreement`` (correlation of fine detail after alignment, in
        [0, 1]), ``negative`` (whether one is the negative of the other). Of films of equal
        pixels each is paired with the first of them alone, and the first stands for all of them.
    """
    rows = [(first, place, kind, 1.0, False) for first, place, kind in _exact(films.table)]
    equal = {row[1] for row in rows}
    # Of equal films one is enough, and an even film has no detail to be compared by.
    apart = np.array([pixels.std() >= 1 for pixels in films.pixels])
    places = np.array([p for p in range(len(films)) if p not in equal and apart[p]], dtype=np.intp)
    for found in _candidates(films.pixels, places, progress):
        one, other = places[found.one], places[found.other]
        agreement = _confirmed(films.pixels[one], films.pixels[other], found)
        if agreement is not None:
            first, second = sorted((int(one), int(other)))
            rows.append((first, second, "near copy", agreement, found.alike < 0))
    table = pd.DataFrame(rows, columns=["one", "other", "kind", "agreement", "negative"])
    return table.sort_values(["one", "other"], ignore_index=True)


def _exact(table: pd.DataFrame) -> list[tuple[int, int, str]]:
    pairs = []
    for _, same in table.groupby("pixel_digest", sort=False):
        first, *others = same.index
        files = same["film_digest"]
        for place in others:
            kind = "same file" if files[place] == files[first] else "same pixels"
            pairs.append((int(first), int(place), kind))
    return pairs


def _contrast(squares: Film, cut: Cut = (0, 0, 0, 0)) -> Levels:
    """Shrink squares to 20×20 and keep their local contrast, (N, 400), rows of length 1."""
    top, bottom, left, right = (round(share * SIDE) for share in cut)
    kept = squares[:, top : SIDE - bottom, left : SIDE - right]
    out = np.empty((len(kept), _SMALL * _SMALL), np.float32)
    for row, square in zip(out, kept, strict=True):
        small = cv2.resize(square, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA)
        row[:] = _local(small.astype(np.float32), _SMALL / 12, _SMALL / 8).ravel()
    out -= out.mean(axis=1, keepdims=True)
    return _unit(out)


def _local(levels: Levels, wide: float, around: float) -> Levels:
    detail = levels - _blurred(levels, wide)
    return np.asarray(detail / _strength(detail, around), np.float32)


def _strength(detail: Levels, around: float = 8.0) -> Levels:
    # Two grey levels more, so that noise in black air is not blown up to anatomy.
    return np.sqrt(_blurred(detail * detail, around)) + np.float32(2)


def _unit(rows: Levels) -> Levels:
    return np.asarray(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6), np.float32)


def _whitening(moments: Floats, films: int) -> Levels:
    """Compute the map (400, 150) after which what all films share counts little, of their moments."""
    values, vectors = np.linalg.eigh(moments)
    values, vectors = values[::-1][:_DIMENSIONS], vectors[:, ::-1][:, :_DIMENSIONS]
    # Of few films the moments are known badly: the fewer, the less they are trusted.
    trust = 0.02 + _DIMENSIONS / films
    return np.asarray(vectors / np.sqrt(values + trust * values.mean()), np.float32)


def _candidates(
    squares: Squares, places: NDArray[np.intp], progress: Progress | None
) -> list[_Candidate]:
    if len(places) < 2:
        return []

    def plain() -> Iterator[Levels]:
        return (_contrast(squares[places[part]]) for part in in_batches(len(places), PART))

    moments = sum(part.T.astype(np.float64) @ part for part in plain())
    whiten = _whitening(np.asarray(moments) / len(places), len(places))
    described = np.concatenate([_unit(part @ whiten) for part in plain()])
    best: dict[tuple[int, int], _Candidate] = {}
    cuts: list[Cut] = list(product(_CUTS, _CUTS, _CUTS, _CUTS))
    for rows in in_batches(len(places), PART, progress):
        part = squares[places[rows]]
        for cut in cuts:
            cropped = _unit(_contrast(part, cut) @ whiten)
            for columns in in_batches(len(places), _COLUMNS):
                alike = cropped @ described[columns].T
                for row, column in np.argwhere(np.abs(alike) >= _ALIKE).tolist():
                    one, other = rows.start + row, columns.start + column
                    value = float(alike[row, column])
                    pair = (min(one, other), max(one, other))
                    if one != other and (pair not in best or abs(value) > abs(best[pair].alike)):
                        best[pair] = _Candidate(value, one, other, cut)
    looked: Counter[int] = Counter()
    chosen = []
    for found in sorted(best.values(), key=lambda c: (-abs(c.alike), c.one, c.other)):
        if min(looked[found.one], looked[found.other]) < _MOST:
            chosen.append(found)
            looked.update((found.one, found.other))
    return chosen


def _confirmed(one: Film, other: Film, found: _Candidate) -> float | None:
    """Measure how far the fine detail of two films agrees once aligned; None if they are no copies."""
    top, bottom, left, right = found.cut
    start = np.array(
        [[1 - left - right, 0, left * SIDE], [0, 1 - top - bottom, top * SIDE]], np.float32
    )
    sign = np.float32(np.sign(found.alike))
    first, second = one.astype(np.float32), sign * other.astype(np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    target, moving = (_local(_band(levels, 1), 6, 8) for levels in (second, first))
    try:
        _, found_map = cv2.findTransformECC(
            target, moving, start, cv2.MOTION_AFFINE, stop, _EVERYWHERE, 1
        )
    except cv2.error:  # it does not converge: nothing fits
        return None
    move = np.asarray(found_map)
    if abs(move[0, 1]) + abs(move[1, 0]) > _SHEAR:
        return None
    nearest, size = cv2.WARP_INVERSE_MAP, (SIDE, SIDE)
    linear = nearest | cv2.INTER_LINEAR
    warped = cv2.warpAffine(first, move, size, flags=linear, borderMode=cv2.BORDER_REPLICATE)
    moved = np.asarray(warped, np.float32)
    inside = np.asarray(cv2.warpAffine(_EVERYWHERE, move, size, flags=nearest)) > 0
    if inside.mean() < 0.5:
        return None
    a, b = _band(moved, 2.5, 8), _band(second, 2.5, 8)
    tone_a, tone_b = _strength(a), _strength(b)
    fine = [_band(moved, 0.7, 2) / tone_a, _band(second, 0.7, 2) / tone_b]
    fine_agrees = _correlation(fine[0], fine[1], inside)
    coarse_agrees = _correlation(a / tone_a, b / tone_b, inside)
    powers = sorted(float(f[inside].var()) + 1e-9 for f in fine)
    more = powers[1] / powers[0]
    # Noise is in one film alone: it costs as much agreement as it adds power.
    explained = fine_agrees * np.sqrt(more)
    noisy = more > _MORE and explained >= _EXPLAINED and coarse_agrees >= _COARSE
    if fine_agrees >= _FINE or noisy:
        return float(min(1.0, max(fine_agrees, explained if noisy else 0.0)))
    return None


def _band(levels: Levels, narrow: float, wide: float = 0) -> Levels:
    smooth = _blurred(levels, narrow)
    return smooth - _blurred(smooth, wide) if wide else smooth


def _blurred(levels: Levels, sigma: float) -> Levels:
    return np.asarray(cv2.GaussianBlur(levels, (0, 0), sigma), np.float32)


def _correlation(one: Levels, other: Levels, where: Mask) -> float:
    a, b = one[where] - one[where].mean(), other[where] - other[where].mean()
    return float(a @ b / (np.sqrt(float(a @ a) * float(b @ b)) + 1e-9))


_OTHER = ("split", "label", "patient", "source")


class Leaks(NamedTuple):
    """Copies and the columns that they contradict.

    Attributes
    ----------
    pairs
        As `find_copies` finds them, with ``other_split``, ``other_label``,
        ``other_patient``, ``other_source``: whether both films have one and it differs.
    groups
        Sets of films that are copies of each other, directly or by way of others.
    extra
        Films that would leave if one of each group stayed.
    patients
        Patients whose films stand in more than one split; None without splits or patients.
    """

    pairs: pd.DataFrame
    groups: int
    extra: int
    patients: list[str] | None


def find_leaks(table: pd.DataFrame, pairs: pd.DataFrame) -> Leaks:
    """Hold pairs of copies and patients against the table's splits, labels, patients and sources.

    Parameters
    ----------
    table
        The films that could be read.
    pairs
        Columns ``one`` and ``other``, rows of `table`.
    """
    told = pairs.copy()
    for column in _OTHER:
        values = known(table, column)
        one, other = (values[pairs[end].to_numpy(np.intp)] for end in ("one", "other"))
        told[f"other_{column}"] = (one != other) & (one != "") & (other != "")
    group = joined(len(table), pairs[["one", "other"]].to_numpy(np.intp))
    members = pd.Series(group).value_counts()
    together = members[members > 1]
    return Leaks(told, len(together), int((together - 1).sum()), _split_patients(table))


def _split_patients(table: pd.DataFrame) -> list[str] | None:
    if not {"patient", "split"} <= {*table.columns[table.notna().any()]}:
        return None
    return sorted(shared_patients(table, "split"))
