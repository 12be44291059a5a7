"""What was measured, as ``metrics.json`` keeps it: figures with intervals, by class and by disease."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from cxrlens.errors import RunError
from cxrlens.files import own_json, refuse_existing, write_text


class Measured(BaseModel):
    """Base of what ``metrics.json`` holds: nothing unknown, nothing infinite, nothing that is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Interval(Measured):
    """An interval, and the share of resamples in which its quantity could be measured."""

    low: float
    high: float
    measured: float = 1.0


class Estimate(Measured):
    """A figure and its interval; None is what cannot be known."""

    value: float | None
    interval: Interval | None = None


NORMAL = "normal"
"""The label that every disease is held against."""

Demand = Literal["specificity", "sensitivity"]

ChosenOn = Literal["these films", "validation films"]
"""Whose ROC curve a threshold is from. Chosen on the films that it is then measured on, it flatters."""

OWN: ChosenOn = "these films"
VALIDATED: ChosenOn = "validation films"


class OperatingPoint(Measured):
    """What a threshold gives.

    Attributes
    ----------
    demand, at_least
        What was demanded of the films that chose it, e.g. a specificity of at least 0.9; among the
        thresholds that give it, the one that gives most of the other.
    chosen_on
        See `ChosenOn`.
    threshold
        A film is called so from this score on; None where no film may be called so.
    sensitivity, specificity
        On the films that are measured; None where they have no film of that kind.
    ppv, npv
        Share of those called so that are so, and of the others that are not, at the prevalence that
        was stated. None where none was, or where no film would be called so (not so).
    """

    demand: Demand
    at_least: float
    chosen_on: ChosenOn
    threshold: float | None
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate | None = None
    npv: Estimate | None = None


class Target(Measured):
    """Whether WHO's minimal target for a triage test of tuberculosis is met.

    A sensitivity of at least 0.90 at a specificity of at least 0.70 (High-priority target product
    profiles for new tuberculosis diagnostics, WHO 2014, WHO/HTM/TB/2014.18).

    Attributes
    ----------
    chosen_on
        See `ChosenOn`. These films' own threshold is the best one with enough specificity; of the
        validation films it is the one that finds 0.90 there.
    sensitivity, specificity
        At that threshold.
    met
        By the figures as they stand.
    sure
        Whether the intervals say the same: wholly within what is demanded, or one of them wholly
        without.
    """

    chosen_on: ChosenOn
    sensitivity: Estimate
    specificity: Estimate
    met: bool
    sure: bool


class Separation(Measured):
    """How far the films of a disease stand above normal films, in one group of films.

    Attributes
    ----------
    films, normals, patients
        Films of the disease, normal films, and the patients of both.
    auc
        The chance that a film of the disease scores above a normal one, ties counted half.
    average_precision
        Area under the steps of the precision-recall curve; guessing gives the disease's share.
    points
        Operating points.
    who
        WHO's target, for tuberculosis.
    unknown
        Why `auc` cannot be known; empty where it is.
    groups
        By ``view``, ``age`` and ``sex``, as far as they are known, the same again.
    """

    films: int
    normals: int
    patients: int
    auc: Estimate
    average_precision: Estimate
    points: tuple[OperatingPoint, ...] = ()
    who: tuple[Target, ...] = ()
    unknown: str = ""
    groups: dict[str, dict[str, "Separation"]] = Field(default_factory=dict)


class Disease(Measured):
    """One disease against normal.

    Attributes
    ----------
    score
        What films are ranked by, in words.
    prevalence
        What `OperatingPoint.ppv` was worked out for.
    whole
        All films of both. Where the source gives the label away, so does a good figure here.
    within
        The films of each source alone.
    """

    score: str
    prevalence: float | None
    whole: Separation
    within: dict[str, Separation]


class Judged(Measured):
    """What can be said of a table that holds scores for some of the classes only.

    Attributes
    ----------
    films, patients
        Rows, and patients among them.
    diseases
        Each disease that has a score against normal.
    """

    films: int
    patients: int
    diseases: dict[str, Disease]


class ClassMetrics(Measured):
    """One class against the rest.

    Attributes
    ----------
    films, predicted
        Films with this label; films to which the model gave it.
    precision
        Share of the films called so that are so. None if no film was called so.
    recall
        Share of the films that are so that were called so (sensitivity). None without such films.
    specificity
        Share of the other films that were not called so. None without other films.
    f1
        Harmonic mean of both, 0 if no film was found. None if no film is or was called so.
    auc
        Area under the ROC curve of the class's probability against all other films: the chance that
        a film of the class scores above one of the others. None without films of both kinds.
    """

    films: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    auc: float | None
    specificity: float | None = None


class Intervals(Measured):
    """Bootstrap intervals; see `cxrlens.evaluation.intervals.bootstrap`.

    Attributes
    ----------
    level
        Their coverage, e.g. 0.95.
    resamples, seed
        How they were drawn.
    patients
        The number of patients that were resampled.
    by_name
        Interval of each quantity, by the names of `Metrics.flat`; None where it has none.
    """

    level: float
    resamples: int
    seed: int
    patients: int
    by_name: dict[str, Interval | None]


class Referral(Measured):
    """How many films of a disease are found, by what becomes of those that are left unsure.

    Attributes
    ----------
    films
        Films of the disease.
    forced
        Share called so where every film is answered.
    as_miss, as_referral
        Share called so, an unsure film being a miss; or called so or unsure, since it is referred.
    """

    films: int
    forced: Estimate
    as_miss: Estimate
    as_referral: Estimate


class Abstention(Measured):
    """What abstaining gives on a table of films.

    Attributes
    ----------
    films
        All of them.
    answered
        Share that is not unsure.
    by_class
        The same of the films of each class that has any.
    by_reason
        Films that are unsure for each reason; "" where the table does not say.
    error, forced_error
        Share of the answered films that are wrong, and of all if all were answered.
    ratio
        The first over the second; None where nothing is wrong.
    doubt, likelihood
        Area under the ROC curve by which errors, were every film answered, are told from the rest by the
        column ``doubt`` and by the highest probability; None without errors, or without the column.
    diseases
        By name.
    curve
        Pairs: a share of the films that is answered, those of least doubt, and the error among them.
    """

    films: int
    answered: Estimate
    by_class: dict[str, float]
    by_reason: dict[str, int]
    error: Estimate
    forced_error: Estimate
    ratio: Estimate
    doubt: Estimate
    likelihood: Estimate
    diseases: dict[str, Referral]
    curve: list[tuple[float, float]]


class Bin(Measured):
    """Films whose predicted class got a probability in one tenth: the mean of it, and how many are right."""

    claimed: float
    right: Estimate
    films: int


class Calibration(Measured):
    """Whether probabilities mean what they say, as they stand in the table.

    Attributes
    ----------
    ece
        Expected calibration error of the predicted class in ten bins (Guo et al. 2017), in [0, 1].
    brier
        Mean over the films of the summed squares of what all classes' probabilities are off (Brier 1950), in
        [0, 2].
    skill
        Share by which that is better than giving every film the classes' shares in this table; below 0 it is
        worse. None where the table has one class.
    bins
        Of the tenths that have films, rising.
    """

    ece: Estimate
    brier: Estimate
    skill: Estimate
    bins: tuple[Bin, ...]


class Metrics(Measured):
    """How good the predictions of a table are.

    Attributes
    ----------
    classes
        Names of the classes, in the order of the confusion matrix.
    films, patients
        Rows, and patients among them (a film without a patient counts as one).
    confusion
        ``confusion[i][j]``: films with label ``classes[i]`` that were predicted ``classes[j]``.
    accuracy
        Share of films with the right prediction.
    macro_precision, macro_recall, macro_f1
        Plain means over the classes that occur, as a label or as a prediction; what cannot be
        measured of such a class counts 0 there, as in scikit-learn with ``zero_division=0``.
    macro_auc
        Plain mean of the classes' AUCs, over those that have one.
    by_class
        Each class against the rest.
    intervals
        If they were asked for.
    by_source
        The same for the films of each source alone, if asked for.
    diseases
        Each disease against normal films alone, if asked for; see
        `cxrlens.evaluation.against_normal.each_disease`.
    abstention
        What leaving films unsure gives; None where nothing abstains. All other figures name a class for
        every film, unsure ones too: see `cxrlens.evaluation.metrics.forced`.
    calibration
        Of the probabilities, if asked for.
    """

    classes: tuple[str, ...]
    films: int
    patients: int
    confusion: list[list[int]]
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    macro_auc: float | None
    by_class: dict[str, ClassMetrics]
    intervals: Intervals | None = None
    by_source: dict[str, "Metrics"] = Field(default_factory=dict)
    diseases: dict[str, Disease] = Field(default_factory=dict)
    abstention: Abstention | None = None
    calibration: Calibration | None = None

    def flat(self) -> dict[str, float | None]:
        """Every quantity by name: ``accuracy``, ``macro_f1``, ``tuberculosis.recall`` and so on."""
        values: dict[str, float | None] = {
            name: getattr(self, name)
            for name in ("accuracy", "macro_precision", "macro_recall", "macro_f1", "macro_auc")
        }
        for label, one in self.by_class.items():
            for name in ("precision", "recall", "specificity", "f1", "auc"):
                values[f"{label}.{name}"] = getattr(one, name)
        return values

    def estimate(self, name: str) -> Estimate:
        """Figure with its interval by its name in `flat`."""
        return Estimate(value=self.flat()[name], interval=self.interval(name))

    def interval(self, name: str) -> Interval | None:
        """Interval of a quantity by its name in `flat`, or None."""
        return self.intervals.by_name.get(name) if self.intervals else None


def write_metrics(
    path: str | Path, metrics: Mapping[str, Metrics | Judged], force: bool = False
) -> Path:
    """Write metrics as JSON, ``{"test": {...}, ...}`` with a key for each split.

    Raises
    ------
    OutputError
        If the file exists and `force` is not set, or its place cannot be written.
    """
    path = Path(path)
    refuse_existing(path, force)
    plain = {split: one.model_dump(mode="json") for split, one in metrics.items()}
    write_text(path, json.dumps(plain, indent=2, allow_nan=False) + "\n")
    return path


class _Kept(RootModel[dict[str, Metrics]]):
    """Metrics by split, as `write_metrics` writes them."""


def read_metrics(path: str | Path) -> dict[str, Metrics]:
    """Read what `write_metrics` wrote.

    Raises
    ------
    RunError
        If the file is missing, is no JSON, or was written by a version with other metrics.
    """
    path = Path(path)
    if not path.is_file():
        raise RunError(f"{path} is missing: evaluate the run first")
    return own_json(path, _Kept, RunError, "evaluate the run again").root
