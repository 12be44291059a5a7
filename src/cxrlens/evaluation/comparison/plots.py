"""The plots of a comparison: macro F1 with intervals, and the courses of all trainings."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cxrlens.evaluation.comparison.compare import Comparison
from cxrlens.evaluation.published import numbers
from cxrlens.pages.figures import HUES, REFERENCE, figure

_DASHES: Sequence[Any] = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (5, 1.2, 1.2, 1.2)))


def run_line(place: int) -> dict[str, Any]:
    """Colour and dash of a run by its place; no two alike among 24."""
    return {
        "color": HUES[place % len(HUES)],
        "linestyle": _DASHES[place // len(HUES) % len(_DASHES)],
    }


def macro_f1_plot(comparison: Comparison) -> Figure:
    """Plot each run's macro F1 with its interval, and the published ones as open diamonds."""
    published = numbers.overall() if comparison.published else pd.DataFrame()
    count = len(comparison.entries) + len(published)
    with figure(6.2, 0.9 + 0.28 * count) as (drawing, (axes,)):
        labels = []
        for place, entry in enumerate(comparison.entries):
            value, interval = entry.test.macro_f1, entry.test.interval("macro_f1")
            if interval:
                axes.plot([interval.low, interval.high], [place, place], color=HUES[0])
            axes.plot([value], [place], color=HUES[0], marker="o", linestyle="")
            labels.append(entry.name)
        for place, (system, value) in enumerate(
            zip(published.get("system", []), published.get("f1", []), strict=True),
            start=len(labels),
        ):
            axes.plot(
                [value],
                [place],
                color=REFERENCE,
                marker="D",
                markerfacecolor="none",
                linestyle="",
            )
            labels.append(f"{system} (published)")
        axes.set_yticks(range(count), labels)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_xlabel("macro F1 of the test films")
        axes.set_title("Macro F1 and 95 % intervals")
    return drawing


def courses_plot(comparison: Comparison, quantity: str) -> Figure:
    """Plot a quantity of the history over the epochs, all runs in one; members share their line.

    Parameters
    ----------
    comparison
        Runs without epochs are left out.
    quantity
        A column of the histories, e.g. ``validation_accuracy``.
    """
    with figure(6.2, 4.0) as (drawing, (axes,)):
        for place, entry in enumerate(comparison.entries):
            label: str | None = entry.name
            for course in entry.trained.values():
                axes.plot(
                    course["epoch"],
                    course[quantity],
                    label=label,
                    linewidth=1.8 if len(entry.trained) == 1 else 1.0,
                    marker="o" if len(course) == 1 else "",
                    **run_line(place),
                )
                label = None
        axes.set_xlabel("epoch")
        axes.set_title(quantity.replace("_", " ").capitalize())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if quantity.endswith("accuracy"):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="\u00a0%"))
        else:
            axes.set_ylim(bottom=0)
        axes.legend()
    return drawing


def rate_plot(course: pd.DataFrame) -> Figure:
    """Plot the learning rate at the end of each epoch."""
    with figure(5.0, 3.5) as (drawing, (axes,)):
        marker = "o" if len(course) < 40 else ""
        axes.plot(course["epoch"], course["learning_rate"], color=HUES[0], marker=marker)
        axes.set_xlabel("epoch")
        axes.set_title("Learning rate")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
        axes.set_ylim(bottom=0)
    return drawing


def last_values(courses: Mapping[str, pd.DataFrame], quantity: str) -> str:
    """Say in words where a quantity ended, training by training."""
    return "; ".join(
        f"{name or 'the run'} {course[quantity].iloc[-1]:.3f}" for name, course in courses.items()
    )
