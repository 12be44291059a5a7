"""The page of a study: how the trials went, what matters, and every trial."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from cxrlens.evaluation.tables import MISSING
from cxrlens.reports.figures import HUES, REFERENCE, Plot, figure
from cxrlens.reports.page import Page, Tile
from cxrlens.training.tuning import TrialRow, Tuned

_LOGARITHMIC = {"learning_rate_low", "learning_rate_high", "width"}


def write_study_page(path: Path, found: Tuned) -> Path:
    """Write the page of a study; one that is there is replaced.

    Parameters
    ----------
    path
        The HTML file.
    found
        What `tune` gives, or has got so far.
    """
    recipe, trials, importance = found.recipe, found.trials, found.importance
    complete = [trial for trial in trials if trial.value is not None]
    pruned = sum(trial.state == "pruned" for trial in trials)
    page = Page(
        f"Tuning of {recipe.name}",
        f"{len(trials)} trials, {pruned} of them stopped early; chosen by the macro F1 of the "
        "validation films",
    )
    page.section("In short")
    if complete:
        best = max(complete, key=lambda trial: trial.value or 0.0)
        page.tiles(
            [
                Tile("Best macro F1", f"{best.value:.4f}", "of the validation films"),
                Tile("Trial", f"{best.number:04d}", f"{len(best.accuracies)} epochs"),
                Tile("Time", f"{sum(t.seconds for t in trials) / 60:.1f} min", "of all trials"),
            ]
        )
        page.facts({name: _said(value) for name, value in best.settings.items()})
        page.text(
            "best.yaml holds this as a recipe: cxrlens train best.yaml films.csv -o runs/NAME. Its "
            "validation score flatters, being the best of many; the test films, which no trial has "
            "met, say how good it is."
        )
    else:
        page.text("No trial has come to its end yet.")
    page.section("How the trials went")
    if complete:
        page.figures([_history(complete), *([_courses(trials)] if _with_epochs(trials) else [])])
    elif _with_epochs(trials):
        page.figures([_courses(trials)])
    if importance:
        table = pd.DataFrame({"setting": list(importance), "share": list(importance.values())})
        page.table(table, "Share of each setting in the spread of the trials' values.")
    if len(complete) > 1:
        page.section("What was drawn, and what came of it")
        page.figures([_slice(complete, name) for name in complete[0].settings])
    page.section("All trials")
    page.table(
        _table(trials),
        "The best first, then those stopped early. Accuracy: the best of the epochs, on validation films.",
        dict.fromkeys(
            ("macro F1", "accuracy", "minutes", "learning_rate_low", "learning_rate_high"), str
        ),
    )
    page.section("The recipe that was begun with", "recipe")
    page.code(recipe.to_yaml())
    return page.write(path, force=True)


def _with_epochs(trials: Sequence[TrialRow]) -> list[TrialRow]:
    return [trial for trial in trials if trial.accuracies]


def _table(trials: Sequence[TrialRow]) -> pd.DataFrame:
    ordered = sorted(trials, key=lambda trial: (-(trial.value or -1.0), trial.number))
    names = list(dict.fromkeys(name for trial in trials for name in trial.settings))
    return pd.DataFrame(
        [
            {
                "trial": f"{trial.number:04d}",
                "state": "stopped early" if trial.state == "pruned" else trial.state,
                "macro F1": MISSING if trial.value is None else f"{trial.value:.4f}",
                "accuracy": f"{max(trial.accuracies):.4f}" if trial.accuracies else MISSING,
                "epochs": len(trial.accuracies),
                "minutes": f"{trial.seconds / 60:.1f}",
                **{name: _said(trial.settings.get(name)) for name in names},
            }
            for trial in ordered
        ]
    )


def _said(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value) or "nothing frozen"


def _history(complete: Sequence[TrialRow]) -> Plot:
    numbers = [trial.number for trial in complete]
    values = [trial.value or 0.0 for trial in complete]
    best = pd.Series(values).cummax()
    with figure() as (drawing, (axes,)):
        axes.plot(numbers, values, color=HUES[0], marker="o", linestyle="", label="a trial")
        axes.step(numbers, best, where="post", color=REFERENCE, label="the best so far")
        axes.set_xlabel("trial")
        axes.set_title("Macro F1 of the validation films")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend()
    return Plot(
        drawing,
        f"Macro F1 of {len(complete)} finished trials, from {min(values):.4f} to {max(values):.4f}.",
        "Macro F1 of each finished trial, and the best so far.",
    )


def _courses(trials: Sequence[TrialRow]) -> Plot:
    shown = _with_epochs(trials)
    with figure() as (drawing, (axes,)):
        for trial in shown:
            done = trial.value is not None
            axes.plot(
                range(1, len(trial.accuracies) + 1),
                trial.accuracies,
                color=HUES[0] if done else HUES[1],
                linestyle="-" if done else (0, (4, 2)),
                linewidth=1.0,
                marker="." if len(trial.accuracies) == 1 else "",
            )
        axes.set_xlabel("epoch")
        axes.set_title("Validation accuracy")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="\u00a0%"))
    return Plot(
        drawing,
        f"Validation accuracy of {len(shown)} trials by epoch; the best reached "
        f"{max(max(trial.accuracies) for trial in shown):.4f}.",
        "Validation accuracy of each trial by epoch; dashed lines were stopped early or are under way.",
    )


def _slice(complete: Sequence[TrialRow], name: str) -> Plot:
    drawn = [trial.settings[name] for trial in complete]
    words = any(isinstance(value, str) for value in drawn)
    places: list[Any] = [_said(value) for value in drawn] if words else drawn
    values = [trial.value or 0.0 for trial in complete]
    drawing = _scatter(places, values, name)
    best = max(complete, key=lambda trial: trial.value or 0.0)
    return Plot(
        drawing,
        f"Macro F1 against {name} of {len(complete)} trials; the best has {_said(best.settings[name])}.",
        f"Macro F1 of the validation films against {name}.",
    )


def _scatter(places: Sequence[Any], values: Sequence[float], name: str) -> Figure:
    with figure() as (drawing, (axes,)):
        axes.plot(places, values, color=HUES[0], marker="o", linestyle="")
        if name in _LOGARITHMIC:
            axes.set_xscale("log")
            # Our style draws no formulas: plain numbers instead of powers of ten.
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(name)
        axes.set_title("Macro F1")
    return drawing
