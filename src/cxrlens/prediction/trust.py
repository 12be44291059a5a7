"""How far an answer is to be trusted: probabilities that were fitted, and when none is given but `unsure`.

The one place where a film's scores become what is said of it. A film is answered `unsure` where it is no
frontal chest, its quality spoils it, it is unlike what the model has learnt, or its scores lie near the
threshold; in this order, so that the first reason is the one that is told. What this needs is fitted on the
validation films when training ends (``trust.json``, ``trust.safetensors``), and may be moved to another
place by a site file, which `cxrlens calibrate` makes.

Throughout, z of a disease is the log of its probability over that of the first class, normal, as the network
gives both: (N, D), the diseases being the classes from the second on.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cxrlens import __version__
from cxrlens.errors import CxrlensError, RunError
from cxrlens.files import own_json, write_text
from cxrlens.prediction.decision import Decision, Outputs, Shares, sigmoid
from cxrlens.prediction.familiarity import Array, Familiarity
from cxrlens.runs.stored import read_weights, write_weights

UNSURE = "unsure"
"""What stands in place of a class where none is named."""

NO_CHEST, QUALITY = "no frontal chest", "film quality"
UNLIKE, NEAR = "unlike", "near the threshold"
REASONS = {
    NO_CHEST: "it does not look like a frontal chest radiograph",
    QUALITY: "a defect of the film that no repair mends",
    UNLIKE: "it is unlike the films that the model has learnt from",
    NEAR: "its scores lie near the threshold between two answers",
}
"""Why an answer is `unsure`, in the order in which they are looked at, with the words for each."""

SPOILING = frozenset({"torn", "photographed", "negative", "noisy", "blurred"})
"""Defects that make a film unsure unless the chain repairs them. Patches are none of them: on real films they
are found on one in twenty of two places, mostly burnt-in marks beside the lungs."""

TRUST, ARRAYS = "trust.json", "trust.safetensors"

LEAST_FILMS, LEAST_OF_CLASS = 30, 5
"""Validation films, and of each class, from which trust is fitted; with fewer the model answers as it is."""

NEAR_SHARE, UNLIKE_SHARE = 0.07, 0.01
"""Share of the validation films that is near the threshold, and that each distance calls unlike."""

LEAST_TEMPERATURE = 1.5
"""A model is surer of itself at its own places than it may be elsewhere; less is not shipped."""

RANKS = 101
"""Quantiles that are kept of what ranks films."""

FORMAT = 1
_AGAIN = "copy the model again, or train again"
_SITE_AGAIN = "make it again with cxrlens calibrate"
_FINITE = ConfigDict(allow_inf_nan=False, frozen=True)
_Ranks = Annotated[list[float], Field(max_length=RANKS)]


class Numbers(BaseModel):
    """What is fitted to films whose labels are known.

    Attributes
    ----------
    offsets, temperature
        The probabilities are the softmax of 0 and (z - offset) / temperature: for classes that are equally
        frequent.
    thresholds
        A film is called a disease where z exceeds its threshold, and does so by more than the other's.
    margin
        A film is near the threshold where its answer is ahead of the next by less, on the scale of z.
    margins, relatives
        `RANKS` quantiles, rising, of how near films were and of their map's relative distance; none where
        there is no map.
    most_residual, most_relative
        Distances beyond which a film is unlike; None where they cannot be said.
    prevalence
        Share of each class, by which probabilities are weighted; None for equal shares.
    """

    model_config = _FINITE

    offsets: list[float]
    thresholds: list[float]
    temperature: float = Field(gt=0)
    margin: float
    margins: _Ranks = []
    relatives: _Ranks = []
    most_residual: float | None = None
    most_relative: float | None = None
    prevalence: list[Annotated[float, Field(gt=0, lt=1)]] | None = None


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


class SiteNumbers(BaseModel):
    """What a site file must hold to be used; `cxrlens.evaluation.calibrate.Site` has the rest."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    format: int
    model: str = Field(min_length=1, max_length=64)
    classes: list[str]
    numbers: Numbers


@dataclass(frozen=True)
class Measures:
    """What is known of N films before anything is said of them.

    Attributes
    ----------
    z
        (N, D) float64.
    voted
        (N,) int64, the class that members voted for; None where nobody votes.
    residual, relative
        (N,) float64, see `cxrlens.prediction.familiarity`; None where they cannot be said.
    """

    z: Array
    voted: NDArray[np.int64] | None = None
    residual: Array | None = None
    relative: Array | None = None

    def of(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Measures":
        """Keep some of the films."""
        return Measures(
            self.z[chosen],
            None if self.voted is None else self.voted[chosen],
            None if self.residual is None else self.residual[chosen],
            None if self.relative is None else self.relative[chosen],
        )

    @classmethod
    def joined(cls, parts: Sequence["Measures"]) -> Self:
        """Put films after one another."""

        def together(name: str) -> NDArray[np.float64] | None:
            held = [getattr(part, name) for part in parts]
            return None if held[0] is None else np.concatenate(held)

        z = np.concatenate([part.z for part in parts])
        voted = together("voted")
        whole = None if voted is None else voted.astype(np.int64)
        return cls(z, whole, together("residual"), together("relative"))


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
    """

    classes: tuple[str, ...]
    numbers: Numbers | None = None
    familiarity: Familiarity = field(default_factory=Familiarity)
    digest: str = ""
    site: str = ""
    films: int = 0

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
        found = self._scores(np.array([self.numbers.thresholds]))[0]
        return dict(zip(diseases, found.tolist(), strict=True))

    def measure(self, shares: Shares, outputs: Outputs) -> Measures:
        """Take from networks' answers to N films what answers are made of."""
        logs = np.log(np.maximum(shares.probabilities, np.finfo(np.float64).tiny))
        return Measures(
            logs[:, 1:] - logs[:, :1],
            None if shares.votes is None else shares.predicted,
            self.familiarity.residual(outputs.features),
            self.familiarity.relative(outputs.map),
        )

    def answer(self, films: Measures, refused: Sequence[str], *, force: bool = False) -> Answers:
        """Say what films are, or why not.

        Parameters
        ----------
        films
            N films.
        refused
            For each what `refusal` says of it.
        force
            Name a class all the same; the reasons are still given.
        """
        if self.numbers is None:
            return self._plain(films, refused, force)
        told = self.numbers
        ahead = _odds(films.z, np.array(told.thresholds))
        chosen = ahead.argmax(1) if films.voted is None else films.voted
        unlike = np.zeros(len(chosen), bool)
        for values, most in (
            (films.residual, told.most_residual),
            (films.relative, told.most_relative),
        ):
            if values is not None and most is not None:
                unlike |= values > most
        near = _lead(ahead, chosen) < told.margin
        ranks = [_ranks(-_band(films, chosen, told), told.margins)]
        if films.relative is not None and told.relatives:
            ranks.append(_ranks(films.relative, told.relatives))
        logits = _odds(films.z, np.array(told.offsets)) / told.temperature
        if told.prevalence is not None:
            logits = logits + np.log(told.prevalence)
        reasons = [
            reason or (UNLIKE if odd else NEAR if close else "")
            for reason, odd, close in zip(refused, unlike, near, strict=True)
        ]
        doubt = 100 * np.mean(ranks, axis=0)
        return self._said(chosen, reasons, _softmax(logits), self._scores(films.z), doubt, force)

    def _plain(self, films: Measures, refused: Sequence[str], force: bool) -> Answers:
        odds = _odds(films.z, np.zeros(films.z.shape[1]))
        chosen = odds.argmax(1) if films.voted is None else films.voted
        shares = _softmax(odds)
        doubt = 100 * (1 - shares.max(1))
        return self._said(chosen, list(refused), shares, self._scores(films.z), doubt, force)

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

    def _scores(self, z: Array) -> Array:
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
        return replace(self, numbers=found.numbers, site=digest_of([site]))


def answers(
    trust: Trust,
    decision: Decision,
    outputs: Outputs,
    refused: Sequence[str],
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
    refused, force
        See `Trust.answer`.

    Returns
    -------
    DataFrame
        N rows, the first columns of the predictions table: ``predicted``, ``reason``, ``suggests``, a
        probability a class, where members voted ``votes_CLASS``, ``score_DISEASE``, ``doubt`` and
        ``calibrated``.
    """
    shares = decision.decide(outputs.scores)
    said = trust.answer(trust.measure(shares, outputs), refused, force=force)
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


def fit_calibration(z: Array, labels: NDArray[np.int64], moves: bool = True) -> tuple[Array, float]:
    """Fit offsets and a temperature by the log loss, all classes that are there weighing the same.

    Parameters
    ----------
    z
        (N, D).
    labels
        (N,), 0 for normal, d for the disease of column d - 1; each from 0 to D is there.
    moves
        Whether offsets are fitted; 0 otherwise.

    Returns
    -------
    tuple
        Offsets (D,) and the temperature, as `Numbers` has them.

    Notes
    -----
    A logistic regression with one slope, by Newton's method; a weak pull of the slope towards 1 keeps it
    finite where the classes are parted without an error (Platt 1999 has the same care).
    """
    films, diseases = z.shape
    weight = 1 / np.bincount(labels, minlength=diseases + 1)[labels]
    weight /= weight.sum()
    truth = (labels[:, None] == np.arange(1, diseases + 1)).astype(np.float64)
    ways = np.zeros((films, diseases, 1 + diseases))
    ways[:, :, 0] = z
    if moves:
        ways[:, :, 1:] = np.eye(diseases)
    pull = np.full(1 + diseases, 1e-6)
    pull[0] = 1e-3
    found = np.zeros(1 + diseases)
    found[0] = 1.0
    start = found.copy()

    def loss(at: Array) -> float:
        logits = ways @ at
        shares = _softmax(np.concatenate([np.zeros((films, 1)), logits], axis=1))
        own = np.maximum(shares[np.arange(films), labels], np.finfo(np.float64).tiny)
        return float(-(weight * np.log(own)).sum() + 0.5 * (pull * (at - start) ** 2).sum())

    for _ in range(100):
        shares = _softmax(np.concatenate([np.zeros((films, 1)), ways @ found], axis=1))[:, 1:]
        slope = np.einsum("n,nd,ndk->k", weight, shares - truth, ways) + pull * (found - start)
        bend = np.einsum("n,nd,ndk,ndl->kl", weight, shares, ways, ways)
        mean = np.einsum("nd,ndk->nk", shares, ways)
        bend -= np.einsum("n,nk,nl->kl", weight, mean, mean)
        step = np.linalg.solve(bend + np.diag(pull), slope)
        size, before = 1.0, loss(found)
        while loss(found - size * step) > before and size > 1e-6:
            size /= 2
        found = found - size * step
        if np.abs(size * step).max() < 1e-8:
            break
    sharp = max(float(found[0]), 0.05)  # a model that ranks films the wrong way round is no further
    return -found[1:] / sharp, 1 / sharp


def fit_numbers(films: Measures, labels: NDArray[np.int64], moves: bool) -> Numbers | None:
    """Fit what trust needs on films that the model was not trained on.

    Parameters
    ----------
    films, labels
        N films and their classes' numbers.
    moves
        Whether the answer may leave the network's own thresholds: half of the fitted offset is taken, since
        the whole one does not carry to other places.

    Returns
    -------
    Numbers or None
        None with fewer than `LEAST_FILMS`, or `LEAST_OF_CLASS` of a class.
    """
    diseases = films.z.shape[1]
    counts = np.bincount(labels, minlength=diseases + 1)
    if len(labels) < LEAST_FILMS or counts.min() < LEAST_OF_CLASS:
        return None
    moves = moves and films.voted is None
    offsets, temperature = fit_calibration(films.z, labels, moves)
    return fitted(films, offsets / 2, offsets / 2, temperature, NEAR_SHARE)


def fitted(
    films: Measures, offsets: Array, thresholds: Array, temperature: float, near: float
) -> Numbers:
    """Fill in what the films themselves tell, without their labels; see `Numbers`.

    Parameters
    ----------
    near
        Share of the films that shall be near the threshold.
    """
    ahead = _odds(films.z, thresholds)
    chosen = ahead.argmax(1) if films.voted is None else films.voted
    numbers = Numbers(
        offsets=offsets.tolist(),
        thresholds=thresholds.tolist(),
        temperature=temperature,
        margin=float(np.quantile(_lead(ahead, chosen), near)),
        relatives=_quantiles(films.relative),
        most_residual=_beyond(films.residual),
        most_relative=_beyond(films.relative),
    )
    margins = _quantiles(-_band(films, chosen, numbers))
    return numbers.model_copy(update={"margins": margins})


def write_trust(
    folder: Path,
    model: str,
    classes: Sequence[str],
    numbers: Numbers,
    familiarity: Familiarity,
    films: int,
) -> None:
    """Write ``trust.json`` and ``trust.safetensors`` into a run folder.

    The temperature that is kept is no lower than `LEAST_TEMPERATURE`; that of the films stands beside it.
    """
    arrays = familiarity.arrays()
    kept = _Kept(
        format=FORMAT,
        cxrlens=__version__,
        model=model,
        classes=list(classes),
        films=films,
        inside_temperature=numbers.temperature,
        distances=[name for name in ("features", "map") if f"{name}_mean" in arrays],
        numbers=numbers.model_copy(
            update={"temperature": max(numbers.temperature, LEAST_TEMPERATURE)}
        ),
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
    return Trust(tuple(classes), kept.numbers, familiarity, digest_of(files), films=kept.films)


def digest_of(files: Sequence[Path]) -> str:
    """Digest files' content, 12 hexadecimal digits of a SHA-256."""
    found = hashlib.sha256()
    for file in files:
        found.update(file.read_bytes())
    return found.hexdigest()[:12]


def _fits(numbers: Numbers, classes: int, origin: str) -> None:
    wanted = {"offsets": classes - 1, "thresholds": classes - 1}
    wanted |= {"prevalence": classes} if numbers.prevalence else {}
    for name, length in wanted.items():
        if len(getattr(numbers, name)) != length:
            raise RunError(f"{origin} is damaged, {name} does not fit {classes} classes: {_AGAIN}")


def _odds(z: Array, offsets: Array) -> Array:
    """Put normal's 0 before z less offsets: (N, 1 + D)."""
    return np.concatenate([np.zeros((len(z), 1)), z - offsets], axis=1)


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _lead(odds: Array, chosen: NDArray[np.int64]) -> Array:
    """How far the chosen class is ahead of the next (N,); below 0 where members outvoted the scores."""
    rows = np.arange(len(chosen))
    others = odds.copy()
    others[rows, chosen] = -np.inf
    lead: Array = odds[rows, chosen] - others.max(1)
    return lead


def _band(films: Measures, chosen: NDArray[np.int64], numbers: Numbers) -> Array:
    """Lead by the thresholds or by the network's own, whichever is less: (N,)."""
    own = _lead(_odds(films.z, np.zeros(films.z.shape[1])), chosen)
    return np.minimum(_lead(_odds(films.z, np.array(numbers.thresholds)), chosen), own)


def _quantiles(values: Array | None) -> list[float]:
    if values is None:
        return []
    return [float(one) for one in np.quantile(values, np.linspace(0, 1, RANKS))]


def _ranks(values: Array, quantiles: list[float]) -> Array:
    """Share of the films of the fit that are below each value, in [0, 1]."""
    return np.interp(values, quantiles, np.linspace(0, 1, len(quantiles)))


def _beyond(values: Array | None) -> float | None:
    return None if values is None else float(np.quantile(values, 1 - UNLIKE_SHARE))
