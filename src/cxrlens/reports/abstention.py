"""The part of a run's page about films that are left unsure."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cxrlens.evaluation.measured import Abstention, Estimate, Metrics
from cxrlens.evaluation.tables import estimate, listed, percent
from cxrlens.reports.figures import HUES, REFERENCE, Plot, figure
from cxrlens.reports.page import Page

_COLUMNS = {
    "answered": "answered",
    "error of these": "error",
    "error if all": "forced_error",
    "ratio": "ratio",
    "doubt": "doubt",
    "probability": "likelihood",
}
"""Columns of the table of places, and the figures of `Abstention` that stand in them."""


def abstention_section(page: Page, tested: Metrics, outside: Metrics | None = None) -> None:
    """Say what is answered, how often that is wrong, and what is referred; nothing where nothing abstains.

    Parameters
    ----------
    page
        Gets a section.
    tested, outside
        Metrics of the films that the page is about, and of those of places that training never saw.
    """
    left = tested.abstention
    if left is None:
        return
    page.section("When it does not know", "unsure")
    page.text(_in_words(left))
    page.table(
        pd.DataFrame(
            {
                "disease": name,
                "films": of.films,
                "every film answered": of.forced,
                "unsure as a miss": of.as_miss,
                "unsure as a referral": of.as_referral,
            }
            for name, of in left.diseases.items()
        ),
        "Sensitivity: the share of a disease's films that is called so, where every film is answered, where "
        "an unsure film counts as missed, and where it counts as found since somebody looks at it.",
        dict.fromkeys(("every film answered", "unsure as a miss", "unsure as a referral"), _show),
    )
    rows = [("all", left)]
    for metrics, where in ((tested, ""), (outside, " (never seen)")):
        for name, of in metrics.by_source.items() if metrics else ():
            if of.abstention:
                rows.append((f"{name}{where}", of.abstention))
    page.table(
        pd.DataFrame(
            {"films from": name, "films": of.films}
            | {column: getattr(of, figure) for column, figure in _COLUMNS.items()}
            for name, of in rows
        ),
        "Where it abstains: share answered, error among those and if every film were answered, and the first "
        "over the second. The last two columns are areas under the ROC curve by which errors are told from "
        "the rest, by the column doubt and by the highest probability; 0.5 is chance.",
        dict.fromkeys(_COLUMNS, _show),
    )
    page.figures(
        [
            Plot(
                coverage_curve(left),
                f"Error against the share answered: {left.curve[0][1]:.2f} of the "
                f"{percent(left.curve[0][0])} least doubtful films are wrong, "
                f"{left.curve[-1][1]:.2f} of all.",
                "Error against coverage: how often it is wrong where only the least doubtful are answered.",
            )
        ]
    )


def coverage_curve(left: Abstention) -> Figure:
    """Plot the error among the least doubtful films against their share of all."""
    with figure(5.0, 3.6) as (drawing, (axes,)):
        shares, errors = zip(*left.curve, strict=True)
        axes.plot(shares, errors, color=HUES[0], marker="o", label="least doubtful films")
        if left.answered.value is not None and left.error.value is not None:
            axes.axvline(left.answered.value, color=REFERENCE, linewidth=1, linestyle=":")
            axes.plot(
                [left.answered.value],
                [left.error.value],
                color=HUES[1],
                marker="s",
                linestyle="",
                label="as it answers",
            )
        axes.set(xlabel="share of the films answered", ylabel="wrong among them", ylim=(0, None))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, symbol="\u00a0%"))
        axes.set_title("Error against coverage")
        axes.legend(loc="upper left")
    return drawing


def _in_words(left: Abstention) -> str:
    answered = left.answered.value or 0.0
    text = f"{percent(answered, 1)} of {left.films:,} films are answered, the rest is left unsure"
    if left.by_reason:
        told = [
            f"{count:,} {name or 'for no reason told'}" for name, count in left.by_reason.items()
        ]
        text += f": {listed(told)}"
    classes = [f"{percent(share)} of {name}" for name, share in left.by_class.items()]
    text += f". Answered are {listed(classes)} films. "
    return text + (
        "Every other figure on this page names a class for unsure films, too: the one that would have been "
        "named."
    )


def _show(found: Estimate) -> str:
    return estimate(found.value, found.interval)
