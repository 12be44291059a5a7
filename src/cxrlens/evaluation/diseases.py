"""What is kept of each disease against normal: values with intervals, operating points, and where."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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
