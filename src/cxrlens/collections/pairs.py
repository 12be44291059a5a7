"""Pair reduction: of the copies of one exposure, the cleanest stays (the 2023 study, section 2).

Copies share an ``acquisition``; a patient's follow-up films do not and are never touched. Nothing is
deleted: films that leave are listed with the reason in a table beside the reduced collection. Two rules
choose: the study's sum of the Laplacian of Gaussian, and ours, which holds the copies against each other.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from cxrlens.collections.collection import Collection
from cxrlens.collections.tables import persons
from cxrlens.errors import CollectionError, FilmError
from cxrlens.progress import Progress
from cxrlens.quality.chain import Chain
from cxrlens.quality.detail import band_statistics, grain_statistics
from cxrlens.quality.exposure import invert, tone_statistics
from cxrlens.quality.step import Regression
from cxrlens.radiographs.grey import Film, Floats, Levels, Mask, log_response, resize
from cxrlens.radiographs.read import read_radiograph

SIDE = 224
"""Copies are compared at one size: the sum over more pixels would be larger by itself."""

SIGMA = 1.0
"""Standard deviation, in pixels at `SIDE`, of the Gaussian before the Laplacian; the study gives none."""

TOLD = ("score", "kept", "kept_score", "reason")
"""Columns of what is told of a film that leaves."""


@dataclass(frozen=True)
class Judged:
    """One of several copies, judged by a rule.

    Attributes
    ----------
    score
        The copy with the lowest stays.
    pixels
        Of copies with equal scores the one with most stays: as decoded, borders cropped.
    faults
        For each fault found (``noisy``, ``blurred``, ``badly exposed``, ``patched``, ``padded``,
        ``negative``, ``blocky``, ``small``) how much of it, > 0; 1 is plain to see. Empty where the rule
        gives no more than the score.
    """

    score: float
    pixels: int = 0
    faults: Mapping[str, float] = field(default_factory=dict)

    def words(self) -> str:
        """Name the faults, worst first."""
        worst = sorted(self.faults.items(), key=lambda fault: -fault[1])
        return ", ".join(f"{name} {weight:.2g}" for name, weight in worst if weight >= 0.05)


class Reduced(NamedTuple):
    """A collection after pair reduction.

    Attributes
    ----------
    kept
        The collection without the copies that left.
    left
        The rows of the films that left, with ``kept`` (the copy that stays), ``score``,
        ``kept_score`` and ``reason``.
    renamed
        New names in `left` of the collection's own columns that were called as one of these.
    failures
        Image and sentence of each copy that could not be read; it left too.
    """

    kept: Collection
    left: pd.DataFrame
    renamed: dict[str, str]
    failures: dict[str, str]

    def write_left(self, path: Path, force: bool = False) -> Path:
        """Write what left as a collection, ``image`` and ``kept`` relative to `path`'s folder."""
        folder = path.resolve().parent
        kept = [os.path.relpath(image, folder) for image in self.left["kept"]]
        return Collection(self.left.assign(kept=kept)).write(path, force)


def reduce_pairs(
    collection: Collection, rule: str = "robust", progress: Progress | None = None
) -> Reduced:
    """Keep the cleanest copy of every acquisition.

    Parameters
    ----------
    collection
        Films with a column ``acquisition``; films without a value there stay as they are.
    rule
        A key of `RULES`: ``robust`` or ``report``.
    progress
        Called with films read and films to read; only acquisitions with copies are read.

    Raises
    ------
    CollectionError
        If the column is missing, the rule is unknown, or copies of one acquisition differ in label
        or patient.

    Examples
    --------
    >>> from cxrlens.collections.collection import read_collection
    >>> reduced = reduce_pairs(read_collection("films.csv"))
    >>> len(reduced.kept), len(reduced.left)
    (48, 0)
    """
    films = collection.films
    if "acquisition" not in films:
        raise CollectionError(
            "the collection has no column 'acquisition', so no film is known to be a copy of another: "
            "nothing to reduce (collect report makes the column)"
        )
    if rule not in RULES:
        raise CollectionError(f"unknown rule {rule!r}: known are {', '.join(RULES)}")
    for column in {"label", "patient"} & set(films):
        told = persons(films[column]) if column == "patient" else films[column]
        values = told.groupby(films["acquisition"]).nunique()
        if (values > 1).any():
            raise CollectionError(
                f"copies of acquisition {values.idxmax()!r} differ in {column}: correct the table, "
                f"since copies of one exposure show one {column}"
            )
    renamed = _renamed(films)
    copies = films.rename(columns=renamed)
    copies = copies[films["acquisition"].notna() & films["acquisition"].duplicated(keep=False)]
    groups = [group for _, group in copies.groupby("acquisition", sort=False)]
    rows: list[dict[str, object]] = []
    failures: dict[str, str] = {}
    done = 0
    with ThreadPoolExecutor() as pool:
        for group, (leaving, broken) in zip(
            groups, pool.map(lambda group: _leaving(group, rule), groups), strict=True
        ):
            failures |= broken
            rows += leaving
            done += len(group)
            if progress:
                progress(done, len(copies))
    left = pd.DataFrame(rows, columns=[*copies.columns, *TOLD])
    kept = films[~films["image"].isin(left["image"])].reset_index(drop=True)
    return Reduced(collection.of(kept), left, renamed, failures | dict(collection.missing))


def _renamed(films: pd.DataFrame) -> dict[str, str]:
    """Name a user's columns anew that are called as what is told of the films that leave."""
    names: dict[str, str] = {}
    for column in films.columns.intersection([*TOLD]):
        name = f"own_{column}"
        while name in films:
            name = f"own_{name}"
        names[column] = name
    return names


def _leaving(group: pd.DataFrame, rule: str) -> tuple[list[dict[str, object]], dict[str, str]]:
    """List the rows of a group that leave, and its broken films; if all are, the first by name stays."""
    films: dict[str, Film] = {}
    broken: dict[str, str] = {}
    for image in group["image"]:
        try:
            films[image] = read_radiograph(image)
        except FilmError as error:
            broken[image] = str(error)
    found = RULES[rule](list(films.values())) if len(films) > 1 else [Judged(0.0) for _ in films]
    judged = dict.fromkeys(broken, Judged(np.nan)) | dict(zip(films, found, strict=True))
    best = min(judged, key=lambda im: (im in broken, judged[im].score, -judged[im].pixels, im))
    rows = []
    for _, row in group[group["image"] != best].iterrows():
        one = judged[row["image"]]
        reason = broken.get(row["image"]) or f"{rule}: {_reason(one, judged[best])}"
        told = (one.score, best, judged[best].score, reason)
        rows.append({**row, **dict(zip(TOLD, told, strict=True))})
    return rows, broken


def _reason(leaving: Judged, best: Judged) -> str:
    if faults := leaving.words():
        return faults + (f" (that one: {best.words()})" if best.words() else "")
    if leaving.score > best.score:
        return f"score {leaving.score:.6g} against {best.score:.6g} of the copy that stays"
    if leaving.pixels < best.pixels:
        return "no fault found; smaller than the copy that stays"
    return "no fault found; as good as the copy that stays, which is first by name"


def log_sum(film: Film) -> float:
    """Sum the absolute Laplacian of Gaussian of a film, brought to one size.

    The study's rule: noise answers to the filter, so the noisier copy has the larger sum. A blurred
    copy has a smaller one and wins; that is the rule's known fault.
    """
    return float(np.abs(log_response(resize(film, SIDE), SIGMA)).sum())


# Weights of the robust rule: 1 is a fault that is plain to see.
_LOGITS = 6.0  # of noise or blur that weigh 1
_MOST = 3.0  # that one fault weighs
_ALIKE = 3.0  # logits below the threshold of darkness at which films count as equally bright
_ELSEWHERE = 6.0  # logits from which noise or blur is so strong that it differs everywhere


def blame_copies(films: Sequence[Film]) -> list[Judged]:
    """Hold copies of one exposure against each other.

    Parameters
    ----------
    films
        Two or more (H, W) uint8 films as decoded; sizes, borders and polarity may differ.

    Returns
    -------
    list of Judged
        One for each film, in their order; its score is the sum of its faults.
    """
    copies = measure_copies(films)
    judged = []
    for copy in copies:
        blame = _blame(copy, [other for other in copies if other is not copy])
        faults = {name: float(weight) for name, weight in blame.items() if weight > 0}
        judged.append(Judged(float(sum(faults.values())), copy.pixels, faults))
    return judged


RULES: Mapping[str, Callable[[Sequence[Film]], list[Judged]]] = {
    "report": lambda films: [Judged(log_sum(film)) for film in films],
    "robust": blame_copies,
}
"""Judges of the copies of one acquisition, two or more, as decoded: the study's rule, and ours."""


class Copy:
    """The measurements of one copy.

    Parameters
    ----------
    film
        (H, W) uint8 as decoded.
    inner
        The same without its borders.
    square
        The same at (224, 224).
    negative
        Whether it is a negative.

    Attributes
    ----------
    square, whole
        (224, 224) uint8, positive; with the borders cropped, and as it came.
    negative
        Whether it came as a negative.
    noise, blur, dark
        Logits of the robust chain's detectors, 0 at their thresholds.
    noise_shrunk
        The noise detector's logit on the square: noise of an enlarged copy is fine only there.
    entropy
        Bits of the grey levels of the smoothed square; no change of tone raises it much.
    padded
        Share of the film that borders take, in [0, 1).
    blocky
        How much more neighbours differ across the edges of JPEG's blocks, as a logarithm, >= 0.
    pixels
        Of the film as decoded, borders cropped.
    """

    def __init__(self, film: Film, inner: Film, square: Film, negative: bool) -> None:
        whole = resize(film, SIDE)
        self.negative = negative
        self.square, self.whole = (invert(square), invert(whole)) if negative else (square, whole)
        self.noise = _odds_beyond_threshold("noisy", grain_statistics(film))
        self.noise_shrunk = _odds_beyond_threshold("noisy", grain_statistics(self.square))
        self.blur = _odds_beyond_threshold("blurred", band_statistics(self.square))
        self.dark = _odds_beyond_threshold("underexposed", tone_statistics(self.square))
        self.entropy = _entropy(self.square)
        self.padded = 1 - inner.size / film.size
        self.blocky = _blockiness(film)
        self.pixels = inner.size


def measure_copies(films: Sequence[Film]) -> list[Copy]:
    """Measure copies of one exposure; their polarity is decided together.

    Parameters
    ----------
    films
        (H, W) uint8 as decoded.
    """
    steps = _steps()
    inner = [_cropped(film, steps["padded"].borders(film)) for film in films]
    squares = [resize(film, SIDE) for film in inner]
    # Those like the first vote with it, their opposites against it.
    alike = [_likeness(squares[0], square) >= 0 for square in squares]
    values = [steps["negative"].value(square) for square in squares]
    vote = sum(value if same else -value for value, same in zip(values, alike, strict=True))
    negatives = [(vote > 0) == same for same in alike]
    return [Copy(*one) for one in zip(films, inner, squares, negatives, strict=True)]


def _odds_beyond_threshold(defect: str, statistics: Floats) -> float:
    regression: Regression = _steps()[defect].regression
    return regression.logit(statistics) - regression.threshold


@cache
def _steps() -> Mapping[str, Any]:
    """Return the robust chain's detectors, for their values instead of their verdicts."""
    return {step.defect: step for step in Chain.named("robust", SIDE).steps}


def _cropped(film: Film, borders: Sequence[int]) -> Film:
    """Take borders off, and lines of one grey: padding beside black air, which ends in no step."""
    even = 4  # grey levels within which a line is of one grey
    depths = []
    sides = (film, film[::-1], film.T, film.T[::-1])
    for lines, border in zip(sides, borders, strict=True):
        bare = (lines.max(axis=1) - lines.min(axis=1) <= even) & (
            np.abs(lines[:, 0].astype(int) - int(lines[0, 0])) <= even
        )
        depths.append(max(border, 0 if bare.all() else int(np.argmin(bare))))
    top, bottom, left, right = depths
    return film[top : film.shape[0] - bottom, left : film.shape[1] - right]


def _likeness(one: Film, other: Film) -> float:
    """Correlate two films at 56×56."""
    rows = []
    for film in (one, other):
        row = cv2.resize(film, (56, 56), interpolation=cv2.INTER_AREA).ravel().astype(np.float64)
        row[0] += 1e-3  # an even film has no correlation, but needs a number
        rows.append(row)
    return float(np.corrcoef(rows[0], rows[1])[0, 1])


def _entropy(square: Film) -> float:
    # Smoothed, because noise adds levels and because any filter fills the gaps of a stretched tone.
    smooth = np.asarray(cv2.GaussianBlur(square, (0, 0), 1.5), np.uint8)
    shares = np.bincount(smooth.ravel(), minlength=256) / smooth.size
    shares = shares[shares > 0]
    return float(-(shares @ np.log2(shares)))


def _blockiness(film: Film) -> float:
    ratios = []
    for picture in (film, film.T):
        steps = np.abs(np.diff(picture[:, : picture.shape[1] // 8 * 8].astype(np.int16), axis=1))
        by_column = np.minimum(steps, 24).mean(axis=0)
        at_edges = by_column[7::8].mean() if len(by_column) > 8 else 0.0
        within = np.delete(by_column, np.s_[7::8]).mean() if len(by_column) else 0.0
        ratios.append(float(np.log((at_edges + 0.5) / (within + 0.5))))
    return max(0.0, float(np.mean(ratios)))


def _blame(one: Copy, others: Sequence[Copy]) -> dict[str, float]:
    """Weigh the faults of one copy, each beside the copy that has least of it."""

    def most(values: Iterable[float]) -> float:
        return max(0.0, 0.0, *values)

    worse, covered = [], []
    for other in others:
        raw, toned, agrees = _in_one_tone(one, other)
        worse.append(float(_statistics(one, other, toned, agrees) @ _weights()))
        covered.append(_covered(raw, toned) if abs(worse[-1]) < _ELSEWHERE else 0.0)
    worst = int(np.argmax(worse))
    detail = min(_MOST, most([worse[worst]]) / _LOGITS)
    # What is wrong with the detail: a copy with more grain than the other is noisy, with less blurred.
    grainier = one.noise_shrunk > others[worst].noise_shrunk
    dark = most(max(one.dark, -_ALIKE) - max(c.dark, -_ALIKE) for c in others) / 10
    flat = most((c.entropy - one.entropy - 0.1) / 0.7 for c in others)
    return {
        "noisy": detail if grainier else 0.0,
        "blurred": 0.0 if grainier else detail,
        "badly exposed": min(_MOST, dark + flat),
        "patched": most(covered),
        "padded": 0.5 * any(_padded(one, c) for c in others),
        "negative": 0.3 * (one.negative and not all(c.negative for c in others)),
        "blocky": min(0.2, most(one.blocky - c.blocky - 0.05 for c in others)),
        "small": min(0.2, 0.1 * most(np.log2(c.pixels / one.pixels) - 0.5 for c in others)),
    }


def _padded(one: Copy, other: Copy) -> bool:
    """Return true if the first has a border more than the other, not one that was seen on it alone."""
    return one.padded - other.padded > 0.02 and _aligned(one, other)[0] is not one.whole


def _aligned(one: Copy, other: Copy) -> tuple[Film, Film]:
    """Return the two squares that fit best, cropped or whole.

    A border of the film's own may be seen on one copy only; then cropping would shift it.
    """
    pairs = [(one.square, other.square)]
    if one.padded or other.padded:
        pairs += [(one.whole, other.whole), (one.square, other.whole), (one.whole, other.square)]
    return pairs[int(np.argmax([_likeness(*pair) for pair in pairs]))]


def _in_one_tone(one: Copy, other: Copy) -> tuple[tuple[Film, Film], list[Levels], Mask]:
    """Bring two films to one mean and contrast, measured where their coarse forms agree; say where."""
    raw = _aligned(one, other)
    films = [film.astype(np.float32) for film in raw]
    coarse = [cv2.GaussianBlur(film, (0, 0), 2.5) for film in films]
    valid = np.ones(raw[0].shape, bool)
    for _ in range(4):
        means = [float(film[valid].mean()) for film in coarse]
        spreads = [max(float(film[valid].std()), 1.0) for film in coarse]
        a, b = ((f - m) / s for f, m, s in zip(coarse, means, spreads, strict=True))
        differs = np.abs(a - b)
        agrees = differs <= max(4 * float(np.median(differs)), 0.08)
        if agrees.mean() < 0.3:
            break
        valid = agrees
    widest = max(spreads)
    toned = [
        np.asarray((f - m) * (widest / s), np.float32)
        for f, m, s in zip(films, means, spreads, strict=True)
    ]
    within = cv2.erode(valid.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return raw, toned, within if within.mean() > 0.1 else valid


STATISTICS = (
    *("noise", "noise_shrunk", "blur", "noise_found", "blur_found", "blocky"),
    *(f"shared_{band}" for band in range(4)),
)
"""Names of `detail_statistics`: differences of the detectors' logits, whole and beyond their
thresholds, of JPEG's blocks, then ratios of power by band, from fine to coarse."""


@cache
def _weights() -> Floats:
    text = files(__package__).joinpath("detail.json").read_text(encoding="utf-8")
    weights = json.loads(text)["weights"]
    return np.array([weights[name] for name in STATISTICS])


def detail_statistics(one: Copy, other: Copy) -> Floats:
    """Measure what tells noise from sharpness; exchanging the copies changes the sign of all.

    Returns
    -------
    (10,) float64
        As named by `STATISTICS`.
    """
    _, toned, agrees = _in_one_tone(one, other)
    return _statistics(one, other, toned, agrees)


def _statistics(one: Copy, other: Copy, toned: list[Levels], agrees: Mask) -> Floats:
    floor = 0.02  # grey levels squared: below it a power would measure rounding
    shared = []
    for p, q in zip(*map(_bands, toned), strict=True):
        p, q = p[agrees], q[agrees]
        power, power_other = float((p * p).mean()) + floor, float((q * q).mean()) + floor
        common = max(float((p * q).mean()), 1e-3)
        ratio = float(np.log(power / power_other))
        # Detail that both have is the film's own; only what one has alone can be noise, or was blurred away.
        lost = max(0.0, -float(np.log(common * common / (power * power_other))))
        shared.append(ratio - float(np.clip(ratio, -lost, lost)))
    logits = [
        one.noise - other.noise,
        one.noise_shrunk - other.noise_shrunk,
        one.blur - other.blur,
        max(one.noise, 0) - max(other.noise, 0),
        max(one.blur, 0) - max(other.blur, 0),
    ]
    blocky = float(np.clip(one.blocky - other.blocky, -0.5, 0.5)) * 2
    return np.array([*(np.clip(logits, -15, 15) / 5), blocky, *shared], np.float64)


def _bands(film: Levels) -> list[Levels]:
    bands, finer = [], film
    for sigma in (0.7, 1.4, 2.8, 5.6):
        coarser = np.asarray(cv2.GaussianBlur(film, (0, 0), sigma), np.float32)
        bands.append(finer - coarser)
        finer = coarser
    return bands


def _covered(raw: tuple[Film, Film], toned: list[Levels]) -> float:
    """Look at the places that differ: how much more the first is black, white or rough there."""
    foreign = np.abs(cv2.GaussianBlur(toned[0] - toned[1], (0, 0), 1.0))
    # Eight grey levels at least: less than that comes from tone and registration.
    marked = (foreign > max(8.0, 6 * float(np.median(foreign)))).astype(np.uint8)
    there = cv2.morphologyEx(marked, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    share = float(there.mean())
    if share == 0:
        return 0.0
    extreme = [float(((film <= 6) | (film >= 249))[there].mean()) for film in raw]
    rough = [float(np.abs(f - cv2.GaussianBlur(f, (0, 0), 2))[there].mean()) for f in toned]
    worse = extreme[0] - extreme[1] + 0.3 * float(np.log((rough[0] + 1) / (rough[1] + 1)))
    return max(0.0, worse - 0.3) * min(1.0, share / 0.002)
