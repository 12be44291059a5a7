"""Plots and pictures inside a page: one palette, light and dark, and the way into HTML.

Plots are drawn with matplotlib in the light colours of `PALETTE`. When a plot becomes inline SVG,
each of these colours turns into the CSS variable of its name, so that one drawing serves light and
dark screens and paper. Hues are those of Okabe and Ito (Color Universal Design, 2008), which stay
apart for the common kinds of colour blindness; a class also has its own dash and marker, so that
no plot is read by colour alone.
"""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

PALETTE: dict[str, tuple[str, str]] = {
    "page": ("#ffffff", "#14181d"),
    "panel": ("#f4f6f8", "#1d232a"),
    "ink": ("#1d2733", "#e5eaef"),
    "quiet": ("#51606f", "#a9b4bf"),
    "line": ("#d3dae1", "#39434d"),
    "link": ("#0b5a93", "#82c3f1"),
    "notice": ("#fff3d1", "#3b3012"),
    "notice-line": ("#b98900", "#c9a03c"),
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

_CLASS_HUES = {"normal": "green", "pneumonia": "blue", "tuberculosis": "vermillion"}
_OTHER_HUES = ("purple", "amber", "slate")
_DASHES = {"normal": "-", "pneumonia": (0, (5, 1.6)), "tuberculosis": (0, (1.2, 1.4))}
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
        "linestyle": _DASHES.get(label, "-"),
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
    if box is None:  # pragma: no cover - matplotlib always writes one
        raise RuntimeError("matplotlib wrote an SVG without a viewBox")
    rest = rest.replace("xlink:href", "href")
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', rest))
    rest = re.sub(
        r' id="([^"]+)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", rest
    )
    rest = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", rest)
    rest = re.sub(r"""(font(?:-family)?: [^;"]*?)'DejaVu Sans'[^;"]*""", r"\1inherit", rest)
    rest = re.sub(r"\b(fill|stroke): (#[0-9a-f]{6})\b", _following, rest)
    width = drawing.get_figwidth() * 96
    label = _attribute(alt)
    return (
        f'<svg role="img" aria-label="{label}" {box[0]} style="max-width: {width:.0f}px">{rest}'
    ).rstrip()


def _following(match: re.Match[str]) -> str:
    name = _NAMES.get(match[2])
    return f"{match[1]}: var(--{name}, {match[2]})" if name else match[0]


def _attribute(text: str) -> str:
    return (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    )


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
    height, width = picture.shape[:2]
    ratio = longest / max(height, width)
    if ratio < 1:
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii")
