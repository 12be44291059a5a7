"""Plots of a run: learning curves, ROC curves, reliability, confusion matrix."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cxrlens.evaluation.metrics import Metrics, probabilities, roc_curve
from cxrlens.evaluation.sources import percent
from cxrlens.reports.figures import CELL, HUES, QUIET, REFERENCE, class_line, figure

_TRAIN, _VALIDATION = HUES[0], HUES[1]


def learning_curve(history: pd.DataFrame, quantity: str, best: int | None = None) -> Figure:
    """Plot loss or accuracy of training and validation over the epochs.

    Parameters
    ----------
    history
        An epoch a row: ``epoch``, ``train_QUANTITY``, ``validation_QUANTITY``.
    quantity
        ``loss`` or ``accuracy``.
    best
        The epoch whose weights were kept, to be marked.
    """
    epochs = history["epoch"]
    marker = "o" if len(history) < 40 else ""
    with figure() as (drawing, (axes,)):
        axes.plot(
            epochs, history[f"train_{quantity}"], color=_TRAIN, marker=marker, label="training"
        )
        axes.plot(
            epochs,
            history[f"validation_{quantity}"],
            color=_VALIDATION,
            linestyle=(0, (5, 1.6)),
            marker="s" if marker else "",
            label="validation",
        )
        if best is not None:
            axes.axvline(best, color=REFERENCE, linewidth=1, linestyle=":", label="weights kept")
        axes.set_xlabel("epoch")
        axes.set_title(quantity.capitalize())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if quantity == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="\u00a0%"))
        else:
            axes.set_ylim(bottom=0)
        axes.legend()
    return drawing


def roc_curves(predictions: pd.DataFrame, metrics: Metrics) -> Figure:
    """Plot each class's one-vs-rest ROC curve, with its AUC in the legend.

    A class without films, or without films of another class, has no curve.
    """
    scores = probabilities(predictions, metrics.classes)
    label = predictions["label"].astype(str).to_numpy()
    with figure(5.0, 4.4) as (drawing, (axes,)):
        axes.plot([0, 1], [0, 1], color=REFERENCE, linewidth=1, label="chance")
        for i, name in enumerate(metrics.classes):
            auc = metrics.by_class[name].auc
            if auc is None:
                continue
            wrongly, rightly = roc_curve(label == name, scores[:, i])
            line = class_line(name) | {"marker": ""}
            axes.plot(wrongly, rightly, label=f"{name}, AUC {auc:.3f}", **line)
        axes.set(
            xlabel="1 − specificity (others called so)",
            ylabel="sensitivity (found)",
            xlim=(-0.01, 1.01),
            ylim=(-0.01, 1.01),
            aspect="equal",
        )
        axes.set_title("ROC, each class against the rest")
        axes.legend(loc="lower right")
    return drawing


def reliability(
    predictions: pd.DataFrame, classes: Sequence[str], bins: int = 10
) -> tuple[Figure, pd.DataFrame]:
    """Plot how often the model is right where it claims a certain probability.

    Parameters
    ----------
    predictions, classes
        As for `cxrlens.evaluation.metrics.measure`.
    bins
        Number of equally wide bins of the predicted class's probability, from 0 to 1.

    Returns
    -------
    tuple of Figure and DataFrame
        The plot, and what it shows: ``claimed`` (mean probability), ``right`` (share), ``films``
        of each bin that has films.
    """
    scores = probabilities(predictions, classes)
    numbers = {name: i for i, name in enumerate(classes)}
    chosen = np.array([numbers[str(name)] for name in predictions["predicted"]])
    claimed = scores[np.arange(len(scores)), chosen]
    right = (predictions["label"].astype(str) == predictions["predicted"].astype(str)).to_numpy()
    place = np.minimum((claimed * bins).astype(int), bins - 1)
    table = (
        pd.DataFrame({"place": place, "claimed": claimed, "right": right})
        .groupby("place")
        .agg(claimed=("claimed", "mean"), right=("right", "mean"), films=("right", "size"))
        .reset_index(drop=True)
    )
    with figure(5.0, 4.4) as (drawing, (axes,)):
        axes.plot([0, 1], [0, 1], color=REFERENCE, linewidth=1, label="as often right as claimed")
        axes.plot(
            table["claimed"],
            table["right"],
            color=_TRAIN,
            marker="o",
            label="films, by claimed probability",
        )
        for x, y, films in zip(table["claimed"], table["right"], table["films"], strict=True):
            axes.annotate(
                f"{films:,}",
                (x, y),
                textcoords="offset points",
                xytext=(6, -9),
                ha="left",
                fontsize=8,
                color=QUIET,
            )
        axes.set(
            xlabel="claimed probability of the predicted class",
            ylabel="share that is right",
            xlim=(-0.01, 1.03),
            ylim=(-0.01, 1.03),
            aspect="equal",
        )
        axes.set_title("Reliability")
        axes.legend(loc="upper left")
    return drawing, table


def confusion_plot(metrics: Metrics) -> Figure:
    """Plot the confusion matrix: films, and the share of each label's films, in shaded cells."""
    counts = np.array(metrics.confusion)
    films = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, films, out=np.zeros(counts.shape), where=films > 0)
    count = len(metrics.classes)
    with figure(5.0, 4.4) as (drawing, (axes,)):
        for row in range(count):
            for column in range(count):
                axes.add_patch(
                    # Opacity, not a colour scale, so that the cell follows the page's colours.
                    _cell(column, row, float(shares[row, column]))
                )
                axes.text(
                    column,
                    row - 0.08,
                    f"{counts[row, column]:,}",
                    ha="center",
                    va="center",
                    fontsize=13,
                    fontweight="bold" if row == column else "normal",
                )
                share = percent(shares[row, column], 1) if films[row, 0] else "no films"
                axes.text(column, row + 0.24, share, ha="center", va="center", fontsize=9)
        names = [_shortened(name) for name in metrics.classes]
        axes.set_xticks(range(count), names)
        axes.set_yticks(range(count), names)
        axes.set(
            xlabel="predicted", ylabel="label", xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5)
        )
        axes.set_title("Films by label and prediction")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return drawing


def _cell(column: int, row: int, share: float) -> Rectangle:
    # The lightest tint still shows that a cell is there.
    return Rectangle(
        (column - 0.48, row - 0.48),
        0.96,
        0.96,
        facecolor=CELL,
        edgecolor="none",
        alpha=0.08 + 0.92 * share,
    )


def _shortened(name: str, letters: int = 16) -> str:
    return name if len(name) <= letters else name[: letters - 1] + "…"
