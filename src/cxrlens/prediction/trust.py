"""How far an answer is to be trusted: probabilities that were fitted, and when none is given but `unsure`.

The one place where a film's scores become what is said of it. A film is answered `unsure` where it is no
frontal chest, its quality spoils it, its patient is younger than who taught the answer, it is unlike what
the model has learnt, or its scores lie near the threshold; in this order, so that the first reason is the one
that is told. What this needs is fitted on the validation films when training ends (``trust.json``,
``trust.safetensors``), and may be moved to another place by a site file, which `cxrlens calibrate` makes.
"""

import hashlib
import json
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cxrlens import __version__
from cxrlens.errors import CxrlensError, RunError
from cxrlens.files import own_json, write_text
from cxrlens.prediction.calibration import (
    Array,
    Curve,
    Familiarity,
    Measures,
    Numbers,
    band,
    odds,
    ranks,
    rivals,
    softmax,
)
from cxrlens.prediction.decision import Decision, Outputs, Shares, sigmoid
from cxrlens.runs.saved import read_weights, write_weights

NOTICE = "Research use only: not a medical device, not a diagnosis."
"""Said beside every answer."""

UNSURE = "unsure"
"""What stands in place of a class where none is named."""

NO_CHEST, QUALITY = "no frontal chest", "film quality"
AGE, UNLIKE, NEAR = "age", "unlike", "near the threshold"
REASONS = {
    NO_CHEST: "it does not look like a frontal chest radiograph",
    QUALITY: "a defect of the film that no repair mends",
    AGE: "the model has learnt its answer from older patients only",
    UNLIKE: "it is unlike the films that the model has learnt from",
    NEAR: "its scores lie near the threshold between two answers",
}
"""Why an answer is `unsure`, in the order in which they are looked at, with the words for each."""

SPOILING = frozenset({"torn", "saturated", "photographed", "negative", "noisy", "blurred"})
"""Defects that make a film unsure unless the chain repairs them. Patches are none of them: on real films they
are found on one in twenty of two places, mostly burnt-in marks beside the lungs."""

TRUST, ARRAYS = "trust.json", "trust.safetensors"

LEAST_TEMPERATURE = 1.5
"""A model is surer of itself at its own places than it may be elsewhere; less is not shipped."""

FORMAT = 1
_FINITE = ConfigDict(allow_inf_nan=False, frozen=True)
_AGAIN = "copy the model again, or train again"
_SITE_AGAIN = "make it again with cxrlens calibrate"


_Ten = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=10, max_length=10)]
Histogram = dict[str, _Ten]
"""Shares of films by score, ten bins from 0 to 100 for each disease; empty where none was kept."""


class _Kept(BaseModel):
    """What trust.json holds."""

    model_config = _FINITE

    format: int
    cxrlens: str = Field(max_length=100)
    model: str = Field(max_length=64)
    classes: list[str]
    films: int
    inside_temperature: float
    distances: list[Literal["features", "map"]]
    numbers: Numbers
    histogram: Histogram = {}
    youngest_of: dict[str, float] = {}


class SiteNumbers(BaseModel):
    """What a site file must hold to be used; `cxrlens.evaluation.calibrate.Site` has the rest."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    format: int
    model: str = Field(min_length=1, max_length=64)
    classes: list[str]
    numbers: Numbers
    histogram: Histogram = {}


def histogram(classes: Sequence[str], scores: Array) -> Histogram:
    """Count in ten equal bins from 0 to 100 how each disease's scores (N, D) lie; shares of 1."""
    return {
        name: (_in_bins(of) / max(1, len(of))).tolist()
        for name, of in zip(classes[1:], scores.T, strict=True)
    }


def _in_bins(scores: Array) -> NDArray[np.int64]:
    """Count scores in [0, 100] in ten equal bins."""
    return np.bincount(np.minimum(scores / 10, 9).astype(int), minlength=10)


@dataclass(frozen=True)
class Answers:
    """What is said of N films.

    Attributes
    ----------
    predicted
        A class each, or `UNSURE`.
    reasons
        A key of `REASONS`; empty where a class is named, or would be were it not forced.
    suggests
        The class that would have been named.
    probabilities
        (N, classes) float64, rows sum to 1.
    scores
        (N, D) float64 in [0, 100], each disease against normal by itself.
    doubt
        (N,) float64 in [0, 100]; of two films the one with more is the likelier error.
    """

    predicted: list[str]
    reasons: list[str]
    suggests: list[str]
    probabilities: Array
    scores: Array
    doubt: Array


@dataclass(frozen=True)
class Trust:
    """What turns a model's scores into answers.

    Attributes
    ----------
    classes
        Normal first.
    numbers
        None where nothing was fitted: the network's own probabilities then, unsure only by the film itself.
    familiarity
        The distances.
    digest, site
        Tell the fit, and the site file that moved it, from others; empty where there is none.
    films
        That it was fitted on.
    histogram
        How the scores of those films lie: what the scores of other films are held against.
    youngest_of
        Age in years of the youngest patient who is known to have taught each class; see
        `cxrlens.collections.readers.published.youngest`.
    """

    classes: tuple[str, ...]
    numbers: Numbers | None = None
    familiarity: Familiarity = field(default_factory=Familiarity)
    digest: str = ""
    site: str = ""
    films: int = 0
    histogram: Histogram = field(default_factory=dict)
    youngest_of: Mapping[str, float] = field(default_factory=dict)

    @property
    def calibrated(self) -> bool:
        """Whether probabilities were fitted to mean what they say."""
        return self.numbers is not None

    @property
    def thresholds(self) -> dict[str, float]:
        """The score in [0, 100] from which a disease is named, by disease."""
        diseases = self.classes[1:]
        if self.numbers is None:
            return dict.fromkeys(diseases, 50.0)
        found = self.scores(np.array([self.numbers.thresholds]))[0]
        return dict(zip(diseases, found.tolist(), strict=True))

    @property
    def curves(self) -> dict[str, Curve]:
        """How its thresholds part films, by disease; those that were never counted are missing."""
        held = self.numbers.curves if self.numbers else []
        return {name: of for name, of in zip(self.classes[1:], held, strict=False) if of}

    def scores_at(self, disease: str) -> list[float]:
        """Turn the thresholds of a disease's curve into scores in [0, 100]."""
        scores = self.scores(self._moved(disease))[:, self.classes.index(disease) - 1]
        return [float(score) for score in scores]

    def what_if(
        self,
        scores: Mapping[str, float],
        reason: str,
        *,
        age: float | None = None,
        force: bool = False,
    ) -> dict[str, list[str]]:
        """Say what a film's answer would become at each threshold of a disease's curve, the others staying.

        Parameters
        ----------
        scores
            Of the film, by disease.
        reason
            Why it is unsure; what lies in the film itself stays so at every threshold.
        age
            Of the patient in years, where it is known.
        force
            Name a class all the same.

        Returns
        -------
        dict of str to list of str
            By disease, a class or `UNSURE` for each of its curve's thresholds.
        """
        if self.numbers is None:
            return {}
        share = np.array([scores[name] for name in self.classes[1:]]) / 100
        share = share.clip(np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).eps)
        z = self.numbers.offsets + self.numbers.temperature * np.log(share / (1 - share))
        found = {}
        for disease in self.curves:
            moved = self._moved(disease)
            tiled = Measures(np.tile(z, (len(moved), 1)))
            chosen, near, young = self._chosen(tiled, moved, self.numbers, [age] * len(moved))
            unsure = near | young | (reason not in ("", AGE, NEAR)) & (not force)
            found[disease] = [
                UNSURE if doubted and not force else self.classes[one]
                for one, doubted in zip(chosen, unsure, strict=True)
            ]
        return found

    def _moved(self, disease: str) -> Array:
        """Put each threshold of a disease's curve among those of the others: (P, D)."""
        assert self.numbers is not None
        at = self.curves[disease].thresholds
        moved = np.tile(np.array(self.numbers.thresholds), (len(at), 1))
        moved[:, self.classes.index(disease) - 1] = at
        return moved

    def cautious(self) -> "Trust":
        """Raise the temperature to `LEAST_TEMPERATURE` where it is lower."""
        if self.numbers is None:
            return self
        raised = max(self.numbers.temperature, LEAST_TEMPERATURE)
        return replace(self, numbers=self.numbers.model_copy(update={"temperature": raised}))

    def measure(self, shares: Shares, outputs: Outputs) -> Measures:
        """Take from networks' answers to N films what answers are made of."""
        logs = np.log(np.maximum(shares.probabilities, np.finfo(np.float64).tiny))
        return Measures(
            logs[:, 1:] - logs[:, :1],
            None if shares.votes is None else shares.predicted,
            self.familiarity.residual(outputs.features),
            self.familiarity.relative(outputs.map),
        )

    def answer(
        self,
        films: Measures,
        refused: Sequence[str],
        ages: Sequence[float | None] = (),
        *,
        force: bool = False,
    ) -> Answers:
        """Say what films are, or why not.

        Parameters
        ----------
        films
            N films.
        refused
            For each what `refusal` says of it.
        ages
            Of the patients in years, None where one is not known; empty where none is.
        force
            Name a class all the same; the reasons are still given.
        """
        if self.numbers is None:
            return self._plain(films, refused, force)
        told = self.numbers
        chosen, near, young = self._chosen(films, np.array(told.thresholds), told, ages)
        unlike = np.zeros(len(chosen), bool)
        for values, most in (
            (films.residual, told.most_residual),
            (films.relative, told.most_relative),
        ):
            if values is not None and most is not None:
                unlike |= values > most
        ranked = [ranks(-band(films, chosen, told), told.margins)]
        if films.relative is not None and told.relatives:
            ranked.append(ranks(films.relative, told.relatives))
        logits = odds(films.z, np.array(told.offsets)) / told.temperature
        if told.prevalence is not None:
            logits = logits + np.log(told.prevalence)
        reasons = [
            reason or (AGE if early else UNLIKE if odd else NEAR if close else "")
            for reason, early, odd, close in zip(refused, young, unlike, near, strict=True)
        ]
        doubt = 100 * np.mean(ranked, axis=0)
        return self._said(chosen, reasons, softmax(logits), self.scores(films.z), doubt, force)

    def _chosen(
        self, films: Measures, thresholds: Array, told: Numbers, ages: Sequence[float | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Choose a class for each film; say if it is near the threshold, or too young for it or the next."""
        ahead = odds(films.z, thresholds)
        chosen = ahead.argmax(1) if films.voted is None else films.voted
        least = np.array([self.youngest_of.get(name, 0.0) for name in self.classes])
        years = np.array(list(ages) or [None] * len(chosen), float)
        following, by = rivals(ahead, chosen)
        young = years < np.maximum(least[chosen], least[following])
        return chosen, by < told.margin, young

    def _plain(self, films: Measures, refused: Sequence[str], force: bool) -> Answers:
        own = odds(films.z, np.zeros(films.z.shape[1]))
        chosen = own.argmax(1) if films.voted is None else films.voted
        shares = softmax(own)
        doubt = 100 * (1 - shares.max(1))
        return self._said(chosen, list(refused), shares, self.scores(films.z), doubt, force)

    def _said(
        self,
        chosen: NDArray[np.int64],
        reasons: list[str],
        probabilities: Array,
        scores: Array,
        doubt: Array,
        force: bool,
    ) -> Answers:
        named = [self.classes[one] for one in chosen]
        told = [
            UNSURE if reason and not force else name
            for name, reason in zip(named, reasons, strict=True)
        ]
        return Answers(told, reasons, named, probabilities, scores, doubt)

    def scores(self, z: Array) -> Array:
        """Turn the diseases' log-odds (N, D) into scores in [0, 100]."""
        if self.numbers is None:
            return 100 * sigmoid(z)
        return 100 * sigmoid((z - self.numbers.offsets) / self.numbers.temperature)

    def at(self, site: Path, model: str) -> "Trust":
        """Move it to a place.

        Parameters
        ----------
        site
            A file of `cxrlens calibrate`.
        model
            The digest of the model that is to answer.

        Raises
        ------
        CxrlensError
            If it is none, of a later version, or was made for another model.
        """
        if not site.is_file():
            raise CxrlensError(f"{site} is no file: name one that cxrlens calibrate wrote")
        found = own_json(site, SiteNumbers, CxrlensError, _SITE_AGAIN)
        if not 0 < found.format <= FORMAT:
            raise CxrlensError(f"{site} is of a later cxrlens: use that version, or {_SITE_AGAIN}")
        if found.model != model or found.classes != list(self.classes):
            raise CxrlensError(
                f"{site} was made for the model {found.model}, not for {model or 'this one'}: calibrate "
                "this model on films of the place"
            )
        _fits(found.numbers, len(self.classes), str(site))
        kept = found.histogram or self.histogram
        return replace(self, numbers=found.numbers, site=digest_of([site]), histogram=kept)


DRIFTED = 0.25
"""Population stability index from which other films come than before (Siddiqi 2006): an alarm."""

LATEST, ENOUGH = 500, 200
"""Films that are held against those of the fit, and how many it takes: chance moves the index of few."""


class Watch:
    """The latest films that a model answered, held against those that it was fitted on.

    Parameters
    ----------
    kept
        How the scores of the fit lie; without it no drift is told.
    """

    def __init__(self, kept: Histogram) -> None:
        self.kept = kept
        self._latest: deque[tuple[dict[str, float], str]] = deque(maxlen=LATEST)

    def see(self, scores: Mapping[str, float], reason: str) -> None:
        """Take in a film: its scores, and why it is unsure, or nothing."""
        self._latest.append((dict(scores), reason))

    def unsure(self, reason: str) -> float:
        """Return the share of the latest films that are unsure for a reason; NaN before the first."""
        latest = list(self._latest)
        return sum(of == reason for _, of in latest) / len(latest) if latest else float("nan")

    def drift(self, disease: str) -> float:
        """Return the population stability index of a disease's scores; NaN before `ENOUGH` films.

        It is the sum over ten bins of (p - q) log(p / q), half a film being added to each bin of the latest.
        What is no frontal chest does not count.
        """
        told = [scores[disease] for scores, reason in list(self._latest) if reason != NO_CHEST]
        if len(told) < ENOUGH or disease not in self.kept:
            return float("nan")
        p = (_in_bins(np.array(told)) + 0.5) / (len(told) + 5)
        q = (np.array(self.kept[disease]) + 0.5 / LATEST) / (1 + 5 / LATEST)
        return float(((p - q) * np.log(p / q)).sum())

    def told(self) -> dict[str, float]:
        """Return all of it by name, as metrics call it."""
        found = {f'cxrlens_unsure_share{{reason="{of}"}}': self.unsure(of) for of in REASONS}
        drifts = {of: self.drift(of) for of in self.kept}
        found |= {f'cxrlens_score_drift{{label="{of}"}}': value for of, value in drifts.items()}
        return found | {
            "cxrlens_score_drift_alarm": float(any(v >= DRIFTED for v in drifts.values()))
        }


def answers(
    trust: Trust,
    decision: Decision,
    outputs: Outputs,
    refused: Sequence[str],
    ages: Sequence[float | None] = (),
    *,
    force: bool = False,
) -> pd.DataFrame:
    """Turn networks' answers into what is said of films: the one place where that is decided.

    Parameters
    ----------
    trust, decision
        How scores become answers, and the leaves' scores one.
    outputs
        Of N films.
    refused, ages, force
        See `Trust.answer`.

    Returns
    -------
    DataFrame
        N rows, the first columns of the predictions table: ``predicted``, ``reason``, ``suggests``, a
        probability a class, where members voted ``votes_CLASS``, ``score_DISEASE``, ``doubt`` and
        ``calibrated``.
    """
    shares = decision.decide(outputs.scores)
    said = trust.answer(trust.measure(shares, outputs), refused, ages, force=force)
    table = pd.DataFrame(
        {"predicted": said.predicted, "reason": said.reasons, "suggests": said.suggests}
    )
    table[list(trust.classes)] = said.probabilities
    if shares.votes is not None:
        table[[f"votes_{label}" for label in trust.classes]] = shares.votes
    table[[f"score_{label}" for label in trust.classes[1:]]] = said.scores
    table["doubt"] = said.doubt
    table["calibrated"] = trust.calibrated
    return table


def refusal(findings: Mapping[str, bool], spoiling: Collection[str]) -> str:
    """Say why a film cannot be answered, whatever its scores: a key of `REASONS`, or nothing.

    Parameters
    ----------
    findings
        Whether each defect is there.
    spoiling
        Those of `SPOILING` that the chain does not repair.
    """
    if findings.get("not_a_chest"):
        return NO_CHEST
    return QUALITY if any(findings.get(name) for name in spoiling) else ""


def write_trust(folder: Path, model: str, classes: Sequence[str], fit: Trust) -> None:
    """Write ``trust.json`` and ``trust.safetensors`` into a run folder.

    The temperature that is kept is that of `Trust.cautious`; that of the films stands beside it.
    """
    arrays = fit.familiarity.arrays()
    numbers = fit.cautious().numbers
    assert fit.numbers is not None
    assert numbers is not None
    kept = _Kept(
        format=FORMAT,
        cxrlens=__version__,
        model=model,
        classes=list(classes),
        films=fit.films,
        inside_temperature=fit.numbers.temperature,
        distances=[name for name in ("features", "map") if f"{name}_mean" in arrays],
        numbers=numbers,
        histogram=fit.histogram,
        youngest_of=dict(fit.youngest_of),
    )
    if arrays:
        write_weights(folder / ARRAYS, arrays)
    text = json.dumps(kept.model_dump(mode="json"), indent=1)
    write_text(folder / TRUST, text + "\n")


def read_trust(folder: Path, model: str, classes: Sequence[str]) -> Trust:
    """Read what `write_trust` wrote; a model without it gives one that fits nothing.

    Parameters
    ----------
    folder
        Of the run or the bundle.
    model, classes
        The model's digest and classes.

    Raises
    ------
    RunError
        If it is damaged, of a later version, or of another model.
    """
    path = folder / TRUST
    if not path.is_file():
        return Trust(tuple(classes))
    kept = own_json(path, _Kept, RunError, _AGAIN)
    if not 0 < kept.format <= FORMAT:
        raise RunError(
            f"{path} was written by cxrlens {kept.cxrlens}, whose layout this version does not know: use "
            "that version, or train again"
        )
    if kept.model != model or kept.classes != list(classes):
        raise RunError(f"{path} is of the model {kept.model}, not of {model}: {_AGAIN}")
    _fits(kept.numbers, len(classes), str(path))
    arrays = read_weights(folder / ARRAYS) if kept.distances else {}
    try:
        familiarity = Familiarity.from_arrays(arrays)
    except KeyError as error:
        raise RunError(f"{folder / ARRAYS} lacks {error}: {_AGAIN}") from error
    files = [path, *([folder / ARRAYS] if kept.distances else [])]
    return Trust(
        tuple(classes),
        kept.numbers,
        familiarity,
        digest_of(files),
        films=kept.films,
        histogram=kept.histogram,
        youngest_of=kept.youngest_of,
    )


def digest_of(files: Sequence[Path]) -> str:
    """Digest files' content, 12 hexadecimal digits of a SHA-256."""
    found = hashlib.sha256()
    for file in files:
        found.update(file.read_bytes())
    return found.hexdigest()[:12]


def _fits(numbers: Numbers, classes: int, origin: str) -> None:
    wanted = {"offsets": classes - 1, "thresholds": classes - 1}
    wanted |= {"prevalence": classes} if numbers.prevalence else {}
    wanted |= {"curves": classes - 1} if numbers.curves else {}
    for name, length in wanted.items():
        if len(getattr(numbers, name)) != length:
            raise RunError(f"{origin} is damaged, {name} does not fit {classes} classes: {_AGAIN}")
