"""Calibrate a model to one's own place: from some hundred labelled films to a site file.

A threshold for a sensitivity is an order statistic of the scores of the films with the disease: of n films it
misses j. Whatever the scores' distribution, the sensitivity that it has at that place is then drawn from
Beta(n - j, j + 1) (Wilks 1941), and the interval that is stated is of that; nothing is assumed but that the
films to come are like those given. Where the films themselves are not what chose a threshold, the interval is
Clopper and Pearson's.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cxrlens import __version__
from cxrlens.collections.cache import cache_films
from cxrlens.collections.collection import Collection, patient_codes, read_collection
from cxrlens.errors import CollectionError, CxrlensError
from cxrlens.evaluation.intervals import refuse_prevalences
from cxrlens.files import refuse_existing, write_text
from cxrlens.prediction.calibration import (
    LEAST_FILMS,
    LEAST_OF_CLASS,
    Array,
    Measures,
    curves,
    fit_calibration,
    fitted,
)
from cxrlens.prediction.predictor import Predictor
from cxrlens.prediction.trust import (
    FORMAT,
    UNSURE,
    Answers,
    SiteNumbers,
    Trust,
    digest_of,
    histogram,
)
from cxrlens.progress import Progress
from cxrlens.runs import open_model

Kind = Literal["sensitivity", "specificity", "cost"]

LEVEL = 0.95
WIDTH = 0.05
"""Half of the interval that films are counted for: plus or minus 5 points."""

SCARCE = 10
"""Films of a disease below which its threshold is hardly more than a guess."""

UNSURE_SHARE = 0.2
"""Share of the place's films that is left unsure for being near the threshold, unless it is told."""

RESAMPLES = 1000


class Costs(BaseModel):
    """What a missed disease, a false alarm and a film left unsure cost, in any unit."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    miss: float = Field(ge=0)
    alarm: float = Field(ge=0)
    read: float = Field(0, ge=0)


@dataclass(frozen=True)
class Wish:
    """What a threshold is chosen for.

    Attributes
    ----------
    kind
        The least sensitivity or specificity that is to be kept, or the least cost.
    at_least
        Of a sensitivity or specificity, in (0, 1).
    costs
        Needed for the kind ``cost``; otherwise they are only counted.
    """

    kind: Kind = "sensitivity"
    at_least: float = 0.9
    costs: Costs | None = None


class Bound(BaseModel):
    """A figure with its interval at `LEVEL`."""

    value: float
    low: float
    high: float


class Threshold(BaseModel):
    """What was chosen for one disease.

    Attributes
    ----------
    score
        In [0, 100], from which the disease is named.
    films, normals
        With the disease, and normal ones.
    missed, alarms
        Of them below the threshold, and above.
    sensitivity, specificity
        Of the threshold at this place, every film being answered.
    more
        Further films with the disease (for a specificity, normal ones) with which the interval of what was
        wished would be no wider than 5 points to each side.
    more_films
        Films of any kind that hold so many, if they hold as many as the given ones.
    """

    score: float
    films: int
    normals: int
    missed: int
    alarms: int
    sensitivity: Bound
    specificity: Bound
    more: int
    more_films: int


class PerThousand(BaseModel):
    """What happens to 1,000 who are screened at the stated prevalence, with intervals by patient."""

    missed: Bound
    alarms: Bound
    unsure: Bound
    cost: Bound | None = None


class Site(SiteNumbers):
    """A site file: what moves a model's answers to a place, and how it came about.

    Attributes
    ----------
    cxrlens
        The version that made it.
    films, patients
        Given and used; films by label, and their patients.
    left_out
        Films without a reader's label, that could not be read, or that the model answers with no scores at
        all (no frontal chest).
    wish, at_least
        What thresholds were chosen for.
    prevalence
        Share of each class, and whether it was stated or is that of the films.
    thresholds
        By disease; those of diseases with fewer than `cxrlens.prediction.trust.LEAST_OF_CLASS` films stay the
        model's and are not here.
    screened
        Among 1,000.
    notes
        What must be known to read this, a sentence each.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cxrlens: str = __version__
    films: dict[str, int]
    patients: int
    left_out: int
    wish: Kind
    at_least: float | None
    prevalence: dict[str, float]
    prevalence_stated: bool
    thresholds: dict[str, Threshold]
    screened: PerThousand
    notes: list[str]


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate` gives: the file, its digest, what it holds, and films that could not be read."""

    path: Path
    digest: str
    site: Site
    failures: dict[str, str]


def calibrate(
    model: str | Path,
    films: str | Path | Collection,
    out: str | Path,
    *,
    wish: Wish | None = None,
    prevalence: Mapping[str, float] | None = None,
    unsure: float = UNSURE_SHARE,
    cache: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Calibrated:
    """Make a site file of labelled films of one's own place.

    Parameters
    ----------
    model
        A run folder or a bundle.
    films
        A collection with labels, or the path of its table. All its films count, whatever their split. A table
        of `cxrlens predict` to which a reader has added ``label`` is one: rows without it are left out.
    out
        The file to write.
    wish
        What thresholds are chosen for; by default a sensitivity of 0.9.
    prevalence
        Share of a disease among those who will be screened, in (0, 1); without it that of the films.
    unsure
        Share of the films that is left unsure for being near the threshold, in [0, 0.5].
    cache, force
        Folder of the film cache; whether a file that exists is replaced.
    progress
        Called with films read and films in all.

    Raises
    ------
    CollectionError
        If films have no label, are of one class, fewer than 30, or trained the model.
    CxrlensError
        If a prevalence is no share of a disease that the model knows, or costs are needed and missing.
    """
    out, wish = Path(out), wish or Wish()
    refuse_existing(out, force)
    if wish.kind == "cost" and wish.costs is None:
        raise CxrlensError("a threshold of least cost needs what a miss and a false alarm cost")
    saved = open_model(model)
    collection = films if isinstance(films, Collection) else read_collection(films)
    table = collection.films
    if "predicted" in table and "label" in table:
        table = table[table["label"].notna()]  # what a reader has not looked at yet
    unread = len(collection.films) - len(table)
    collection = collection.of(table.reset_index(drop=True))
    collection.need("label")
    table = collection.films
    _refuse_few(table["label"].tolist())
    learnt = saved.learnt(table["image"])
    if learnt:
        raise CollectionError(
            f"{len(learnt)} of the films are ones that the model learnt from or was chosen by, the first is "
            f"{learnt[0][0]}: calibrate it on other films, of other patients"
        )
    predictor = Predictor.of(saved)
    known = [str(label) for label in predictor.classes]
    unknown = sorted(set(table["label"]) - set(known))
    if unknown or known[0] != "normal":
        raise CollectionError(
            f"the model tells {', '.join(known)} apart, not {', '.join(unknown) or 'normal from the rest'}"
        )
    cached = cache_films(table["image"].tolist(), predictor.chain, cache, progress=progress)
    refused = np.array(predictor.refused(cached.findings), dtype=object)
    used = (cached.rows >= 0) & (refused == "")
    lost = Counter(np.where(cached.rows < 0, "unread", refused)[~used])
    table = table[used].reset_index(drop=True)
    _refuse_few(table["label"].tolist(), ", ".join(f"{n} {why}" for why, n in lost.items()))
    labels = table["label"].map(known.index).to_numpy(np.int64)
    measures = predictor.measure_cached(cached.pixels, cached.rows[used])
    site = fit_site(
        predictor.trust,
        predictor.digest,
        measures,
        labels,
        patient_codes(table),
        wish,
        prevalence,
        unsure,
        left_out=unread + int((~used).sum()) + len(collection.missing),
    )
    lost["without a reader's label"] = unread
    lost["not there"] = len(collection.missing)
    if said := ", ".join(f"{count} {why}" for why, count in lost.items() if count):
        site = site.model_copy(
            update={"notes": [f"{site.left_out} films were left out: {said}.", *site.notes]}
        )
    write_text(out, json.dumps(site.model_dump(mode="json"), indent=1) + "\n")
    failures = cached.failures | dict(collection.missing)
    return Calibrated(out, digest_of([out]), site, failures)


def fit_site(
    trust: Trust,
    model: str,
    films: Measures,
    labels: NDArray[np.int64],
    patients: NDArray[np.intp],
    wish: Wish,
    prevalence: Mapping[str, float] | None = None,
    unsure: float = UNSURE_SHARE,
    left_out: int = 0,
) -> Site:
    """Fit what a site file holds; see `calibrate`.

    Parameters
    ----------
    trust, model
        The model's own, which stays where the films say nothing, and its digest.
    films, labels, patients
        What was measured of N films, their classes' numbers, and numbers of their patients.
    """
    counts = np.bincount(labels, minlength=len(trust.classes))
    there = [d for d in range(1, len(counts)) if counts[d] >= LEAST_OF_CLASS]
    notes = []
    own = np.zeros(films.z.shape[1]) if trust.numbers is None else np.array(trust.numbers.offsets)
    offsets = own.copy()
    place = np.array([d - 1 for d in there])
    some = np.isin(labels, [0, *there])
    numbered = np.searchsorted([0, *there], labels[some])
    offsets[place], temperature = fit_calibration(films.z[some][:, place], numbered)
    shares, stated = _shares(trust.classes, counts, prevalence)
    thresholds = own.copy() if trust.numbers is None else np.array(trust.numbers.thresholds)
    for disease in there:
        ill = np.sort(films.z[labels == disease, disease - 1])
        well = np.sort(films.z[labels == 0, disease - 1])
        thresholds[disease - 1] = _threshold(ill, well, wish, shares[disease], shares[0])
    numbers = fitted(films, offsets, thresholds, temperature, unsure).model_copy(
        update={
            "prevalence": shares.tolist(),
            "curves": curves(films, labels, patients, thresholds.tolist()),
        }
    )
    moved = Trust(trust.classes, numbers, trust.familiarity)
    chosen = {}
    for disease in there:
        z, name = films.z[:, disease - 1], trust.classes[disease]
        ill, well = z[labels == disease], z[labels == 0]
        chosen[name] = _told(
            ill, well, thresholds[disease - 1], moved.thresholds[name], wish, len(labels)
        )
        if len(ill) < SCARCE:
            notes.append(
                f"There are only {len(ill)} films of {name}: its threshold is hardly more than a guess."
            )
    for disease in range(1, len(counts)):
        if disease not in there:
            notes.append(
                f"There are {counts[disease]} films of {trust.classes[disease]}: its threshold stays the "
                "model's, and nothing is known of it here."
            )
    guessed = [d for d in range(1, len(counts)) if trust.classes[d] not in (prevalence or {})]
    if stated and guessed:
        shares_told = ", ".join(f"{trust.classes[d]} {shares[d]:.3f}" for d in guessed)
        notes.append(
            f"No prevalence was stated of {shares_told}: that is its share of the films, which those who "
            "will be screened may not have."
        )
    if wish.kind == "cost":
        notes.append(
            "Thresholds of least cost were chosen and counted on the same films: the cost to come is higher."
        )
    if trust.calibrated is False:
        notes.append("The model itself was not calibrated; here it is.")
    answers = moved.answer(films, [""] * len(labels))
    return Site(
        format=FORMAT,
        model=model,
        classes=list(trust.classes),
        numbers=numbers,
        histogram=histogram(trust.classes, moved.scores(films.z)),
        films={name: int(n) for name, n in zip(trust.classes, counts, strict=True)},
        patients=int(np.unique(patients).size),
        left_out=left_out,
        wish=wish.kind,
        at_least=None if wish.kind == "cost" else wish.at_least,
        prevalence=dict(zip(trust.classes, shares.tolist(), strict=True)),
        prevalence_stated=stated,
        thresholds=chosen,
        screened=_screened(answers, trust.classes, labels, patients, shares, wish.costs),
        notes=notes,
    )


def _refuse_few(labels: list[str], of: str = "") -> None:
    """Refuse films from which nothing could be fitted; say what would do, and what became of the others."""
    counts = pd.Series(labels, dtype=object).value_counts()
    normals, ill = int(counts.get("normal", 0)), counts.drop("normal", errors="ignore")
    needed = films_for(0.9)
    would = (
        f"{LEAST_FILMS} films do at the least, {LEAST_OF_CLASS} of them normal and {LEAST_OF_CLASS} of a "
        f"disease; about {needed} of the disease give a sensitivity of 0.9 to plus or minus 5 points"
    )
    if len(labels) < LEAST_FILMS:
        left = f" (the others: {of})" if of else ""
        raise CollectionError(f"{len(labels)} films are too few to calibrate on{left}: {would}")
    if ill.empty or not normals:
        one = ", ".join(map(str, counts.index))
        raise CollectionError(
            f"all {len(labels)} films are {one}: calibration tells two apart; {would}"
        )
    if normals < LEAST_OF_CLASS or ill.max() < LEAST_OF_CLASS:
        raise CollectionError(
            f"there are {normals} normal films and at most {int(ill.max())} of a disease: {would}"
        )


def _shares(
    classes: tuple[str, ...], counts: NDArray[np.int64], stated: Mapping[str, float] | None
) -> tuple[Array, bool]:
    """Give the share of each class: as stated, otherwise as counted, none of them 0."""
    found = (counts + 1) / (counts.sum() + len(counts))
    refuse_prevalences(stated, classes[1:])
    for name, share in (stated or {}).items():
        found[classes.index(name)] = share
    found[0] = 1 - found[1:].sum()
    if found[0] <= 0:
        raise CxrlensError("the stated prevalences leave no one healthy: they sum to 1 or more")
    return found, bool(stated)


def _threshold(ill: Array, well: Array, wish: Wish, pi: float, rest: float) -> float:
    """Choose the threshold on z for one's own place, from rising z of films with and without the disease."""
    if wish.kind == "sensitivity":
        return _below(ill[_missed(len(ill), wish.at_least)])
    if wish.kind == "specificity":
        return float(well[len(well) - 1 - _missed(len(well), wish.at_least)])
    assert wish.costs is not None
    edges = np.concatenate([[ill[0] - 1], np.sort(np.concatenate([ill, well]))])
    missed = np.searchsorted(ill, edges, side="right") / len(ill)
    alarms = 1 - np.searchsorted(well, edges, side="right") / len(well)
    cost = pi * missed * wish.costs.miss + rest * alarms * wish.costs.alarm
    return float(edges[int(cost.argmin())])


def _missed(films: int, share: float) -> int:
    """How many of so many films may lie on the wrong side."""
    return int((1 - share) * films + 1e-9)


def _below(value: float) -> float:
    """Put a threshold that must be exceeded just under a film that shall be found."""
    return float(np.nextafter(value, -np.inf))


def _told(
    ill: Array, well: Array, threshold: float, score: float, wish: Wish, films: int
) -> Threshold:
    n, m = len(ill), len(well)
    missed, alarms = int((ill <= threshold).sum()), int((well > threshold).sum())
    chose_ill, chose_well = wish.kind == "sensitivity", wish.kind == "specificity"
    needed = 0
    if chose_ill or chose_well:
        needed = max(0, films_for(wish.at_least) - (n if chose_ill else m))
    share = (m if chose_well else n) / films
    return Threshold(
        score=score,
        films=n,
        normals=m,
        missed=missed,
        alarms=alarms,
        sensitivity=_order_statistic(n, missed) if chose_ill else _clopper(n - missed, n),
        specificity=_order_statistic(m, alarms) if chose_well else _clopper(m - alarms, m),
        more=needed,
        more_films=math.ceil(needed / share),
    )


def _order_statistic(films: int, missed: int) -> Bound:
    """State the rate of a threshold that these films chose."""
    a, b = films - missed, missed + 1
    low, high = (beta_quantile(share, a, b) for share in _TAILS)
    return Bound(value=a / (a + b), low=low, high=high)


def _clopper(right: int, films: int) -> Bound:
    """State the rate of a threshold that other films chose (Clopper and Pearson 1934)."""
    low = beta_quantile(_TAILS[0], right, films - right + 1) if right else 0.0
    high = beta_quantile(_TAILS[1], right + 1, films - right) if right < films else 1.0
    return Bound(value=right / films, low=low, high=high)


_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def films_for(share: float, width: float = WIDTH) -> int:
    """Count the films that choose a threshold for a rate, so that its interval is `width` to each side.

    Parameters
    ----------
    share
        The rate in (0, 1).
    width
        Half of the interval.

    Examples
    --------
    >>> films_for(0.9), films_for(0.7)
    (142, 321)
    """
    low, high = 1, 4
    while _half(high, share) > width:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _half(middle, share) > width else (low, middle)
    return high


def _half(films: int, share: float) -> float:
    bound = _order_statistic(films, _missed(films, share))
    return (bound.high - bound.low) / 2


def beta_quantile(share: float, a: int, b: int) -> float:
    """Find where a Beta distribution with whole parameters has a share of itself below.

    Parameters
    ----------
    share
        In (0, 1).
    a, b
        At least 1.

    Examples
    --------
    >>> round(beta_quantile(0.025, 18, 3), 3)
    0.683
    """
    n = a + b - 1
    k = np.arange(a, n + 1)
    logs = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k])
    low, high = 0.0, 1.0
    for _ in range(60):
        x = (low + high) / 2
        # Beta(a, b) lies below x as often as at least a of n tosses with chance x succeed.
        below = np.exp(logs + k * math.log(x) + (n - k) * math.log1p(-x)).sum()
        low, high = (x, high) if below < share else (low, x)
    return (low + high) / 2


def _screened(
    answers: Answers,
    classes: tuple[str, ...],
    labels: NDArray[np.int64],
    patients: NDArray[np.intp],
    shares: Array,
    costs: Costs | None,
) -> PerThousand:
    """Count among 1,000 at a prevalence; intervals are of patients drawn again and again, or exact for 0."""
    told = np.array(answers.predicted, dtype=object)
    unsure, normal = told == UNSURE, told == classes[0]
    kinds = np.stack([(labels > 0) & normal, (labels == 0) & ~normal & ~unsure, unsure], 1)
    _, codes = np.unique(patients, return_inverse=True)
    random = np.random.default_rng(0)
    many = codes.max() + 1
    drawn = []
    for _ in range(RESAMPLES):
        picked = np.bincount(random.integers(0, many, many), minlength=many)
        drawn.append(_rates(kinds, labels, picked[codes].astype(np.float64), shares))
    rates = _rates(kinds, labels, np.ones(len(labels)), shares)
    found = [_bound(rates[i], [one[i] for one in drawn]) for i in range(3)]
    for i, possible in enumerate((labels > 0, labels == 0, labels >= 0)):
        # What never happened happens in no resample: the exact bound, class by class.
        if rates[i] == 0:
            most = sum(
                shares[of] * _clopper(0, np.unique(patients[labels == of]).size).high
                for of in np.unique(labels[possible])
            )
            found[i] = found[i].model_copy(update={"high": 1000 * float(most)})
    cost = None
    if costs:
        price = np.array([costs.miss, costs.alarm, costs.read])
        cost = _bound(rates @ price, [one @ price for one in drawn])
    return PerThousand(missed=found[0], alarms=found[1], unsure=found[2], cost=cost)


def _rates(
    kinds: NDArray[np.bool_], labels: NDArray[np.int64], weights: Array, shares: Array
) -> Array:
    """Weigh what happens to films of each class by its share; classes without a film count for none."""
    total = np.zeros(3)
    for label, share in enumerate(shares):
        of = weights * (labels == label)
        if of.sum():
            total += 1000 * share * (of @ kinds) / of.sum()
    return total


def _bound(value: float, drawn: list[float]) -> Bound:
    low, high = np.quantile(drawn, _TAILS)
    return Bound(value=float(value), low=float(low), high=float(high))
