"""Plots and pictures inside a page: one palette, the way into HTML, and the curves of a model.

Plots are drawn with matplotlib in the light colours of `PALETTE`. When a plot becomes inline SVG,
each of these colours turns into the CSS variable of its name, so that one drawing serves light and
dark screens and paper. Hues are those of Okabe and Ito (Color Universal Design, 2008), which stay
apart for the common kinds of colour blindness; a class also has its own dash and marker, so that
no plot is read by colour alone.
"""

import base64
import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from PIL import Image

from cxrlens.evaluation.measured import Calibration, Metrics
from cxrlens.evaluation.metrics import probabilities, roc_curve
from cxrlens.evaluation.tables import percent

PALETTE: dict[str, tuple[str, str]] = {
    "page": ("#ffffff", "#14181d"),
    "panel": ("#f4f6f8", "#1d232a"),
    "ink": ("#1d2733", "#e5eaef"),
    "quiet": ("#51606f", "#a9b4bf"),
    "line": ("#d3dae1", "#39434d"),
    "link": ("#0b5a93", "#82c3f1"),
    "notice": ("#fff3d1", "#3b3012"),
    "notice-line": ("#b98900", "#c9a03c"),
    "alarm": ("#fde8e6", "#45161a"),
    "alarm-line": ("#b3261e", "#f2776e"),
    "cell": ("#6ba6d9", "#2b6299"),
    "reference": ("#7b8794", "#8a96a3"),
    "blue": ("#0072b2", "#56b4e9"),
    "vermillion": ("#d55e00", "#e69f00"),
    "green": ("#009e73", "#009e73"),
    "purple": ("#b5539a", "#d98cc0"),
    "amber": ("#a86f00", "#f0e442"),
    "slate": ("#4d5a68", "#b8c2cc"),
}
"""Name of each colour to its hex value on a light and on a dark page."""

_NAMES = {light: name for name, (light, _) in PALETTE.items()}
INK, QUIET, LINE = PALETTE["ink"][0], PALETTE["quiet"][0], PALETTE["line"][0]
CELL, REFERENCE = PALETTE["cell"][0], PALETTE["reference"][0]

DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5)))
"""Lines of series that are no classes, in order of use."""

_CLASS_HUES = {"normal": "green", "pneumonia": "blue", "tuberculosis": "vermillion"}
_OTHER_HUES = ("purple", "amber", "slate")
_CLASS_DASHES = dict(zip(_CLASS_HUES, DASHES, strict=False))
_MARKERS = {"normal": "o", "pneumonia": "s", "tuberculosis": "^"}

HUES: tuple[str, ...] = tuple(
    PALETTE[name][0] for name in ("blue", "vermillion", "green", "purple", "amber", "slate")
)
"""Light hex values for series that are no classes (splits, sources), in order of use."""


def hue_name(label: str) -> str:
    """Name in `PALETTE` of a class's colour; the same label always has the same one.

    Parameters
    ----------
    label
        ``normal``, ``pneumonia``, ``tuberculosis`` or any other name.
    """
    if label in _CLASS_HUES:
        return _CLASS_HUES[label]
    return _OTHER_HUES[sum(label.encode()) % len(_OTHER_HUES)]


def class_colour(label: str) -> str:
    """Hex colour in which a class is drawn in plots, e.g. ``#009e73`` for normal."""
    return PALETTE[hue_name(label)][0]


def class_line(label: str) -> dict[str, Any]:
    """Colour, dash and marker of a class, as keyword arguments for ``Axes.plot``."""
    return {
        "color": class_colour(label),
        "linestyle": _CLASS_DASHES.get(label, "-"),
        "marker": _MARKERS.get(label, "D"),
    }


_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a label with dollar signs is a label, not a formula
    "axes.facecolor": "none",
    "axes.edgecolor": REFERENCE,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.prop_cycle": cycler(color=list(HUES)),
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": REFERENCE,
    "ytick.color": REFERENCE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "figure.edgecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "cxrlens",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of our pages, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


@contextmanager
def figure(
    width: float = 5.0, height: float = 3.5, panels: int = 1
) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """Open a figure with a row of axes in our style; draw inside the block.

    It uses no window and no global state of pyplot, so nothing leaks and threads may draw.

    Parameters
    ----------
    width, height
        Inches; the page shows one inch as 96 CSS pixels or less. Five inches stay readable on a
        phone; wider plots are better split into several, which a page sets side by side.
    panels
        Number of axes in the row.

    Yields
    ------
    tuple of Figure and sequence of Axes
        The figure and its axes, left to right.
    """
    with style():
        drawing = Figure(figsize=(width, height), layout="constrained")
        yield drawing, list(drawing.subplots(1, panels, squeeze=False)[0])


def svg(drawing: Figure, prefix: str, alt: str) -> str:
    """Turn a figure into inline SVG that follows the page's light and dark colours.

    Parameters
    ----------
    drawing
        A matplotlib figure, best one of `figure`.
    prefix
        Put before every id, so that two drawings on a page do not meet; letters and digits.
    alt
        What the plot shows, for those who do not see it. It is escaped here.

    Returns
    -------
    str
        An ``<svg>`` element without XML header, metadata, dates or addresses; the same figure
        gives the same text.
    """
    text = io.StringIO()
    with style():
        drawing.savefig(text, format="svg")
    body = text.getvalue()
    body = body[body.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    head, rest = body.split(">", 1)
    box = re.search(r'viewBox="[\d.\s-]+"', head)
    assert box is not None
    rest = rest.replace("xlink:href", "href")
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', rest))
    rest = re.sub(
        r' id="([^"]+)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", rest
    )
    rest = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", rest)
    rest = re.sub(r"""(font(?:-family)?: [^;"]*?)'DejaVu Sans'[^;"]*""", r"\1inherit", rest)
    rest = re.sub(r"\b(fill|stroke): (#[0-9a-f]{6})\b", _following, rest)
    width = drawing.get_figwidth() * 96
    attributes = f'aria-label="{html.escape(alt)}" {box[0]} style="max-width: {width:.0f}px"'
    return f'<svg role="img" {attributes}>{rest}'.rstrip()


def _following(match: re.Match[str]) -> str:
    name = _NAMES.get(match[2])
    return f"{match[1]}: var(--{name}, {match[2]})" if name else match[0]


def picture_uri(picture: NDArray[np.uint8], longest: int = 512) -> str:
    """Pack a picture into a data URI (PNG), shrunk so that its longer side is at most `longest`.

    Parameters
    ----------
    picture
        (H, W) grey or (H, W, 3) RGB, uint8.
    longest
        Pixels; a smaller picture keeps its size.

    Raises
    ------
    ValueError
        For another shape or dtype.
    """
    if picture.dtype != np.uint8 or not (
        picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
    ):
        raise ValueError(
            f"a picture is (H, W) or (H, W, 3) uint8, not {picture.shape} {picture.dtype}"
        )
    data = io.BytesIO()
    Image.fromarray(shrunk(picture, longest)).save(data, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def shrunk(picture: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Shrink a picture so that its longer side has `longest` pixels; a smaller one stays itself."""
    return picture if max(picture.shape[:2]) <= longest else scaled(picture, longest)


def scaled(picture: NDArray[np.uint8], longer: int) -> NDArray[np.uint8]:
    """Scale a picture (H, W, ...) so that its longer side has `longer` pixels, the other at least 1."""
    height, width = picture.shape[:2]
    ratio = longer / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    way = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)


@dataclass(frozen=True)
class Plot:
    """A plot or picture with its words.

    Attributes
    ----------
    picture
        A matplotlib figure (becomes inline SVG), or a uint8 array (H, W) or (H, W, 3) (PNG).
    alt
        What it shows, for those who do not see it; may not be empty.
    caption
        Printed under it, after its number.
    """

    picture: Figure | NDArray[np.uint8]
    alt: str
    caption: str


PARTS = {"train": "training", "validation": "validation"}
"""Beginnings of a history's columns, and their words."""


def training_plots(history: pd.DataFrame, kept: pd.Series, name: str = "") -> list[Plot]:
    """Plot loss and accuracy of training and validation over the epochs; the epoch kept is marked.

    Parameters
    ----------
    history
        An epoch a row: ``epoch`` from 0, and ``train_`` and ``validation_`` of ``loss`` and ``accuracy``.
    kept
        The row of the epoch whose weights were kept.
    name
        Of the run, where the page has several.
    """
    epochs, last = counted(history), history.iloc[-1]
    plots = []
    for quantity in ("loss", "accuracy"):
        with figure() as (drawing, (axes,)):
            for number, (part, words) in enumerate(PARTS.items()):
                line = {"color": HUES[number], "linestyle": DASHES[number]}
                line["marker"] = "os"[number] if len(history) < 40 else ""
                axes.plot(epochs, history[f"{part}_{quantity}"], label=words, **line)
            axes.axvline(kept["epoch"] + 1, color=REFERENCE, linestyle=":", label="weights kept")
            history_axes(axes, quantity.capitalize(), quantity)
            axes.legend()
        of, title = f" of {name}" if name else "", quantity.capitalize()
        ends = " and ".join(
            f"{last[f'{p}_{quantity}']:.3f} in {words}" for p, words in PARTS.items()
        )
        alt = f"{title}{of} over {len(history)} epochs; at the end {ends}."
        caption = f"{name}: {quantity}" if name else title
        plots.append(Plot(drawing, alt, f"{caption} of training and validation by epoch."))
    return plots


def counted(history: pd.DataFrame) -> pd.Series:
    """Count epochs as people and the command line do, from 1; ``history.csv`` has them from 0."""
    return history["epoch"] + 1


def history_axes(axes: Axes, title: str, quantity: str) -> None:
    """Set the axes of a plot over epochs: accuracies in percent, others from 0."""
    axes.set_xlabel("epoch")
    axes.set_title(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if quantity == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="\u00a0%"))
    else:
        axes.set_ylim(bottom=0)


def square(axes: Axes, diagonal: str = "", end: float = 1.01) -> None:
    """Set the axes of two shares, and draw what lies between them where it has a name."""
    if diagonal:
        axes.plot([0, 1], [0, 1], color=REFERENCE, linewidth=1, label=diagonal)
    axes.set(xlim=(-0.01, end), ylim=(-0.01, end), aspect="equal")


def roc_curves(predictions: pd.DataFrame, metrics: Metrics) -> Figure:
    """Plot each class's one-vs-rest ROC curve, with its AUC in the legend.

    A class without films, or without films of another class, has no curve.
    """
    scores = probabilities(predictions, metrics.classes)
    label = predictions["label"].astype(str).to_numpy()
    with figure(5.0, 4.4) as (drawing, (axes,)):
        square(axes, "chance")
        for i, name in enumerate(metrics.classes):
            auc = metrics.by_class[name].auc
            if auc is None:
                continue
            wrongly, rightly = roc_curve(label == name, scores[:, i])
            line = class_line(name) | {"marker": ""}
            axes.plot(wrongly, rightly, label=f"{name}, AUC {auc:.3f}", **line)
        axes.set(xlabel="1 − specificity (others called so)", ylabel="sensitivity (found)")
        axes.set_title("ROC, each class against the rest")
        axes.legend(loc="lower right")
    return drawing


def reliability(found: Calibration) -> Figure:
    """Plot how often the model is right where it claims a certain probability, with intervals."""
    claimed = [one.claimed for one in found.bins]
    right = [one.right.value or 0.0 for one in found.bins]
    spans = [one.right.interval for one in found.bins]
    ends = [
        (max(0.0, y - span.low), max(0.0, span.high - y)) if span else (0.0, 0.0)
        for y, span in zip(right, spans, strict=True)
    ]
    with figure(5.0, 4.4) as (drawing, (axes,)):
        square(axes, "as often right as claimed", 1.03)
        axes.errorbar(claimed, right, np.array(ends).T, fmt="none", color=HUES[0], linewidth=1)
        axes.plot(claimed, right, color=HUES[0], marker="o", label="films, by claimed probability")
        for one, y in zip(found.bins, right, strict=True):
            axes.annotate(
                f"{one.films:,}",
                (one.claimed, y),
                textcoords="offset points",
                xytext=(6, -9),
                ha="left",
                fontsize=8,
                color=QUIET,
            )
        axes.set(xlabel="claimed probability of the predicted class", ylabel="share that is right")
        axes.set_title("Reliability")
        axes.legend(loc="upper left")
    return drawing


def confusion_plot(metrics: Metrics) -> Figure:
    """Plot the confusion matrix: films, and the share of each label's films, in shaded cells."""
    counts = np.array(metrics.confusion)
    films = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, films, out=np.zeros(counts.shape), where=films > 0)
    count = len(metrics.classes)
    with figure(5.0, 4.4) as (drawing, (axes,)):
        for row in range(count):
            for column in range(count):
                # Opacity, not a colour scale, so that the cell follows the page's colours; the lightest tint
                # still shows that a cell is there.
                tint = {
                    "facecolor": CELL,
                    "edgecolor": "none",
                    "alpha": 0.08 + 0.92 * shares[row, column],
                }
                axes.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, **tint))
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
        names = [name if len(name) <= 16 else f"{name[:15]}…" for name in metrics.classes]
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
