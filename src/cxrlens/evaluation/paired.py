"""Two models on the same films: McNemar's test, and the difference of their figures by patient.

Both ask whether a difference is more than chance. McNemar's test looks at the films that one model
calls rightly and the other wrongly; it takes films to be independent, which those of one patient are
not. The bootstrap draws patients with all of their films, and may ask for any figure: here macro F1,
by which systems are chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.evaluation.against_normal import disease_score
from cxrlens.evaluation.intervals import drawn_weights, percentiles, resampled, weighted_auc
from cxrlens.evaluation.measured import NORMAL, Estimate
from cxrlens.evaluation.metrics import forced, measure, roc_auc


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two models that called the same films.

    Attributes
    ----------
    first, second
        Films that only the first, only the second model called rightly.
    exact
        Two-sided p of the exact test: twice the binomial tail, at most 1 (McNemar, Psychometrika
        1947). 1 where no film parts the models.
    mid
        Two-sided mid-p: less conservative, and close to its nominal level even for few films
        (Fagerland, Lydersen and Laake, BMC Med Res Methodol 2013, 13:91). 1 where no film parts
        the models.
    """

    first: int
    second: int
    exact: float
    mid: float


def mcnemar(first: int, second: int) -> McNemar:
    """Test whether two models are right equally often.

    Parameters
    ----------
    first, second
        Films that only the first, only the second model called rightly.

    Raises
    ------
    ValueError
        For a negative count.

    Examples
    --------
    >>> found = mcnemar(1, 8)
    >>> found.exact, round(found.mid, 7)
    (0.0390625, 0.0214844)
    """
    if first < 0 or second < 0:
        raise ValueError("films are counted from 0")
    films = first + second
    fewer = min(first, second)
    if not films:
        return McNemar(0, 0, 1.0, 1.0)
    # Whole numbers until the last division, so that nothing is lost however many films there are.
    tail = last = 1
    for right in range(fewer):
        last = last * (films - right) // (right + 1)
        tail += last
    total = 2**films
    exact = min(1.0, 2 * tail / total)
    # With equal counts the two tails share their middle: a half of it is what mid-p leaves out.
    mid = 1 - last / (2 * total) if first == second else (2 * tail - last) / total
    return McNemar(first, second, exact, mid)


class Difference(Estimate):
    """A figure of the first model minus that of the second, on the same films.

    Attributes
    ----------
    value
        The difference on the films as they are.
    interval
        Percentile interval over resampled patients; None with fewer than two patients.
    p
        Two-sided p by inverting that interval: twice the share of resamples beyond 0, ties counted,
        (k + 1) / (n + 1) so that it is never 0 (Davison and Hinkley, Bootstrap Methods, 1997,
        section 4.2). None where there is no interval.
    """

    value: float
    p: float | None


def _difference(
    once: Sequence[float], drawn: Sequence[NDArray[np.float64]], patients: int, level: float
) -> Difference:
    """Take the second figure from the first, as they are and in each resample."""
    value = once[0] - once[1]
    if patients < 2:
        return Difference(value=value, p=None)
    differences = drawn[0] - drawn[1]
    known = differences[np.isfinite(differences)]
    fewer = min(int((known <= 0).sum()), int((known >= 0).sum()))
    p = min(1.0, 2 * (fewer + 1) / (known.size + 1))
    return Difference(value=value, interval=percentiles(differences, level), p=p)


@dataclass(frozen=True)
class Paired:
    """Two models on the films that both were tested on.

    Attributes
    ----------
    films, patients
        How many of them there are.
    mcnemar
        See `McNemar`.
    macro_f1
        See `Difference`.
    """

    films: int
    patients: int
    mcnemar: McNemar
    macro_f1: Difference


def compare_paired(
    first: pd.DataFrame,
    second: pd.DataFrame,
    classes: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Paired:
    """Compare two models on the same films.

    Parameters
    ----------
    first, second
        Predictions of the same films in the same order, with the same labels; see
        `cxrlens.evaluation.metrics.measure`. Patients are read from `first`.
    classes
        The classes of both.
    resamples, seed, level
        See `cxrlens.evaluation.intervals.bootstrap`.

    Raises
    ------
    CollectionError
        If a table cannot be measured.
    ValueError
        If films or labels differ.
    """
    if list(first["image"]) != list(second["image"]):
        raise ValueError("the two tables must hold the same films in the same order")
    if list(first["label"]) != list(second["label"]):
        raise ValueError("the two tables must give the same films the same labels")
    first, second = forced(first, classes), forced(second, classes)
    if "patient" in first:
        second = second.assign(patient=first["patient"].to_numpy())
    else:
        second = second.drop(columns="patient", errors="ignore")
    right = [
        (table["predicted"].to_numpy() == table["label"].to_numpy()) for table in (first, second)
    ]
    measured = [measure(table, classes) for table in (first, second)]
    drawn = [resampled(table, classes, resamples, seed)["macro_f1"] for table in (first, second)]
    patients = measured[0].patients
    return Paired(
        films=measured[0].films,
        patients=patients,
        mcnemar=mcnemar(int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())),
        macro_f1=_difference([one.macro_f1 for one in measured], drawn, patients, level),
    )


@dataclass(frozen=True)
class DiseaseDifference:
    """How far apart a disease and normal are for two models, on the same films of one place.

    Attributes
    ----------
    disease, source
        Which disease; the source whose films these are, None for all films together.
    films, normals, patients
        Films of the disease, normal films, and their patients.
    first, second
        AUC of each model.
    difference
        See `Difference`.
    """

    disease: str
    source: str | None
    films: int
    normals: int
    patients: int
    first: float
    second: float
    difference: Difference


def compare_diseases(
    first: pd.DataFrame,
    second: pd.DataFrame,
    classes: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> list[DiseaseDifference]:
    """Compare two models disease by disease: over all films, and within each source that holds both.

    Parameters
    ----------
    first, second
        The same films in the same order, with ``label`` and columns of `classes`. Patients and sources are
        read from `first`.
    classes
        Classes that both have scores of.
    resamples, seed, level
        See `cxrlens.evaluation.intervals.bootstrap`; a drawn patient brings all films to both models.

    Returns
    -------
    list of DiseaseDifference
        Where a place lacks films of one kind it is left out.
    """
    found = []
    source = first["source"] if "source" in first else pd.Series(pd.NA, index=first.index)
    for disease in (name for name in classes if name != NORMAL):
        chosen = first["label"].isin([NORMAL, disease])
        names = sorted(source[chosen].dropna().unique())
        places = [(None, chosen), *((str(name), chosen & source.eq(name)) for name in names)]
        for place, rows in places if len(names) != 1 or source[chosen].isna().any() else places[1:]:
            here = rows.fillna(False).to_numpy(bool)
            films = first[here]
            positive = films["label"].eq(disease).to_numpy(bool)
            if positive.all() or not positive.any():
                continue
            scores = [disease_score(table[here], disease) for table in (first, second)]
            once = [roc_auc(positive, score) for score in scores]
            patients, draws = drawn_weights(films, resamples, seed)
            parts = [
                [weighted_auc(weights, positive, score) for score in scores] for weights in draws
            ]
            found.append(
                DiseaseDifference(
                    disease=disease,
                    source=place,
                    films=int(positive.sum()),
                    normals=int((~positive).sum()),
                    patients=patients,
                    first=once[0],
                    second=once[1],
                    difference=_difference(once, [*np.concatenate(parts, axis=1)], patients, level),
                )
            )
    return found


@dataclass(frozen=True)
class Pair:
    """Two models on the films that both were tested on.

    Attributes
    ----------
    first, second
        Their names.
    common
        Films that both hold with the same label.
    relabelled
        Films that both hold with different labels; they are left out.
    whole
        Whether both hold the same films and nothing was left out.
    result
        How they call films; None where no film is common, or where films are only scored.
    diseases
        Each disease against normal, over all common films and within each source.
    """

    first: str
    second: str
    common: int
    relabelled: int
    whole: bool
    result: Paired | None
    diseases: tuple[DiseaseDifference, ...]


def pair(
    names: tuple[str, str],
    tables: tuple[pd.DataFrame, pd.DataFrame],
    classes: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
    *,
    called: bool = True,
) -> Pair:
    """Compare two models on the films that their tables share.

    Parameters
    ----------
    names
        Of the models.
    tables
        Films by the index, which tells which are the same; patients and sources may stand in either.
    classes
        Classes that both have scores of.
    resamples, seed
        See `cxrlens.evaluation.intervals.bootstrap`.
    called
        Whether both say what films were called, so that this is compared, too.
    """
    shared = tables[0].index[tables[0].index.isin(tables[1].index)]
    films = [table.loc[shared] for table in tables]
    same = films[0]["label"].eq(films[1]["label"]).to_numpy(bool)
    left, right = (table[same].reset_index(drop=True) for table in films)
    for column in ("patient", "source"):
        if column not in left and column in right:
            left = left.assign(**{column: right[column]})
    common = len(left)
    return Pair(
        *names,
        common=common,
        relabelled=len(shared) - common,
        whole=common == len(tables[0]) == len(tables[1]),
        result=compare_paired(left, right, classes, resamples, seed) if called and common else None,
        diseases=tuple(compare_diseases(left, right, classes, resamples, seed)),
    )


def holm(values: Sequence[float]) -> list[float]:
    """Adjust p for the number of comparisons (Holm, Scand J Stat 1979), in the order given.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted = [0.0] * len(values)
    reached = 0.0
    for place, index in enumerate(order):
        reached = max(reached, min(1.0, (len(values) - place) * values[index]))
        adjusted[index] = reached
    return adjusted
