"""Explain films: a picture each, a sheet a class, and one page with all of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cxrlens.errors import FilmError, blamed_on
from cxrlens.explanation import method_named
from cxrlens.explanation.heatmap import HeatMap, check_palette, write_png
from cxrlens.explanation.method import SAMPLES, Method
from cxrlens.files import refuse_existing, short_stem
from cxrlens.prediction.predictor import Prediction, Predictor
from cxrlens.prediction.trust import REASONS
from cxrlens.progress import Progress
from cxrlens.reports.figures import Plot, scaled, shrunk, style
from cxrlens.reports.page import CARD, FilmCard, Page

_TILE = 320


@dataclass(frozen=True)
class SheetRow:
    """A film and its maps.

    Attributes
    ----------
    name
        Stands at its left, e.g. the file and what was predicted.
    tiles
        Small pictures (h, w, 3) RGB, left to right: the film and the model's map, then each member's if it
        has any.
    regional
        Whether the model's map is one of regions, and takes two tiles.
    """

    name: str
    tiles: Sequence[NDArray[np.uint8]]
    regional: bool

    @classmethod
    def of(cls, name: str, maps: Sequence[HeatMap], palette: str = "ember") -> Self:
        """Draw the model's map and each member's, all of one film; nothing of their full size is kept.

        Parameters
        ----------
        name
            See `SheetRow`.
        maps
            The model's, then the members'.
        palette
            A key of `cxrlens.explanation.heatmap.PALETTES`.
        """
        first = maps[0]
        tiles = [np.repeat(scaled(first.film, _TILE)[..., None], 3, axis=2)]
        if first.regional:
            tiles += [
                scaled(tile, _TILE) for tile in (first.regions(palette), first.colours(palette))
            ]
            maps = maps[1:]
        tiles += [scaled(heat.overlay(palette), _TILE) for heat in maps]
        return cls(name, tiles, first.regional)


def sheet(rows: Sequence[SheetRow], title: str, members: Sequence[str] = ()) -> NDArray[np.uint8]:
    """Draw films and maps in a grid.

    Parameters
    ----------
    rows
        The films, top to bottom.
    title
        Over the sheet.
    members
        Names of the members, as many as each row has maps after its first.

    Returns
    -------
    ndarray of uint8
        (h, w, 3) RGB. a map of regions shows its three panels, any other the film and the map over it; then
        each member's map over the film.
    """
    heads = ["film", "for and against", "weights"] if rows[0].regional else ["film", "model"]
    heads += list(members)
    with _drawing(2.3 * len(heads) + 0.4, 2.45 * len(rows) + 0.5) as (drawing, pixels):
        drawing.suptitle(title, fontsize=11, fontweight="bold")
        grid = drawing.subplots(len(rows), len(heads), squeeze=False)
        for axes, row in zip(grid, rows, strict=True):
            for place, tile in zip(axes, row.tiles, strict=True):
                _show(place, tile)
            axes[0].set_ylabel(row.name, fontsize=8)
        for place, head in zip(grid[0], heads, strict=True):
            place.set_title(head, fontsize=9)
    return pixels[0]


@contextmanager
def _drawing(width: float, height: float) -> Iterator[tuple[Figure, list[NDArray[np.uint8]]]]:
    """Open a figure in inches; its pixels, (h, w, 3) RGB, lie in the list after the block."""
    with style():
        drawing = Figure((width, height), dpi=110, layout="constrained", facecolor="white")
        canvas, pixels = FigureCanvasAgg(drawing), list[NDArray[np.uint8]]()
        yield drawing, pixels
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels.append(np.asarray(canvas.buffer_rgba(), np.uint8)[..., :3].copy())  # type: ignore[no-untyped-call]


def _show(axes: Axes, picture: NDArray[np.uint8], **options: Any) -> None:
    axes.imshow(picture, **options)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


@dataclass(frozen=True)
class Explained:
    """What `explain_films` wrote.

    Attributes
    ----------
    page
        ``explained.html``.
    pictures
        One PNG a film.
    sheets
        One PNG a class explained.
    failures
        Film and sentence of each that could not be read.
    """

    page: Path
    pictures: list[Path]
    sheets: list[Path]
    failures: dict[str, str]


SHEET_FILMS = 8
"""Films on a sheet at most: the first of each class."""


def explain_films(
    predictor: Predictor,
    films: Sequence[Path],
    folder: Path,
    method: str | None = None,
    target: str | None = None,
    palette: str = "ember",
    force: bool = False,
    *,
    members: bool = False,
    samples: int = SAMPLES,
    progress: Progress | None = None,
) -> Explained:
    """Predict films and show where the model looked.

    Parameters
    ----------
    predictor
        The model.
    films
        Files.
    folder
        Gets ``NNN-STEM-METHOD-CLASS.png`` for each film, ``sheet-METHOD-CLASS.png`` for each class that is
        explained (its first `SHEET_FILMS` films), and ``explained.html``.
    method, target, samples
        See `cxrlens.prediction.predictor.Prediction.explain`.
    palette
        A key of `cxrlens.explanation.heatmap.PALETTES`.
    force
        Replace files that exist.
    members
        Put the map of each voting member on the sheets, too.
    progress
        Called with films done and films in all.

    Raises
    ------
    OutputError
        If a file exists and `force` is false, or the folder cannot be written.
    CxrlensError
        If the method, the class or the palette is unknown.
    """
    page_path = folder / "explained.html"
    refuse_existing(page_path, force)
    check_palette(palette)
    chosen = method_named(method) if method else predictor.methods[0]
    voters = range(len(predictor.members) if members else 0)
    cards: dict[str, list[FilmCard]] = {}
    rows: dict[str, list[SheetRow]] = {}
    pictures: list[Path] = []
    failures: dict[str, str] = {}
    for done, (path, outcome) in enumerate(
        zip(films, predictor.predict_many(films), strict=True), 1
    ):
        try:
            if isinstance(outcome, FilmError):
                raise outcome
            with blamed_on(str(path)):
                heat = outcome.explain(chosen.name, target, samples=samples)
                picture = heat.picture(palette)
                row = None
                if len(rows.get(heat.target, [])) < SHEET_FILMS:
                    theirs = [
                        outcome.explain(chosen.name, heat.target, member=voter, samples=samples)
                        for voter in voters
                    ]
                    row = SheetRow.of(_said(path, outcome, heat), [heat, *theirs], palette)
        except FilmError as error:
            failures[str(path)] = str(error)
        else:
            name = f"{len(pictures) + 1:03d}-{short_stem(path)}-{chosen.name}-{heat.target}.png"
            pictures.append(write_png(folder / name, picture, force))
            cards.setdefault(heat.target, []).append(
                FilmCard(
                    # No larger than the page shows it: there may be thousands.
                    shrunk(picture, 2 * CARD),
                    path.name,
                    f"{path.name}: the film and, beside it, its {chosen.title} map for {heat.target}",
                    _words(outcome, heat),
                    outcome.probabilities if outcome.answered else {},
                )
            )
            if row:
                rows.setdefault(heat.target, []).append(row)
        if progress:
            progress(done, len(films))
    page = Page("Where the model looked", f"{chosen.title}; {_legend(chosen, palette)}")
    if pictures:
        page.figures([_colours(chosen, palette)])
    sheets = []
    for label in sorted(rows):
        page.section(label.capitalize())
        drawn = sheet(
            rows[label],
            f"{label}: {chosen.title}",
            [f"member {voter + 1}" for voter in voters],
        )
        sheets.append(write_png(folder / f"sheet-{chosen.name}-{label}.png", drawn, force))
        if members:  # their maps are on the sheet alone; otherwise it would show each film again
            alt = (
                f"{len(rows[label])} films, a row each, with their {chosen.title} maps for {label}"
            )
            page.figures([Plot(drawn, alt, f"{chosen.title} for {label}")], longest=2048)
        page.films(cards[label])
    for sentence in failures.values():
        page.warning(sentence)
    return Explained(page.write(page_path, force), pictures, sheets, failures)


def _colours(method: Method, palette: str) -> Plot:
    """Draw what the colours mean, over grey as over a film."""
    values = np.linspace(-1 if method.signed else 0, 1, 360, dtype=np.float32)
    strip = np.tile(values, (20, 1))
    grey = np.full(strip.shape, 128, np.uint8)
    drawn = HeatMap(strip, grey, method.name, "", signed=method.signed).overlay(palette)
    ends = ["−1, against", "0", "1, for"] if method.signed else ["0", "0.5", "1"]
    with _drawing(4.2, 0.7) as (figure, pixels):
        place = figure.subplots()
        _show(place, drawn, aspect="auto")
        place.set_xticks([0, 179.5, 359], ends)
    words = "Colours of a map's values. Most methods stretch each map so that its own strongest place is 1"
    return Plot(pixels[0], f"a scale of colours: {'; '.join(ends)}", words)


def _rounded(share: float) -> str:
    return f"{share:.2f}" if share >= 0.005 else "below 0.01"


def _legend(method: Method, palette: str) -> str:
    if not method.signed:
        return "the brighter the colour, the more that part raises the class's score"
    support, against = ("blue", "orange") if palette == "ember" else ("blue or green", "red")
    return f"{support} speaks for the class, {against} against it"


def _said(path: Path, prediction: Prediction, heat: HeatMap) -> str:
    said = f"{path.stem[:24]}\n{_verdict(prediction)}"
    # Each map is scaled by itself: without this a change of nothing looks like much.
    return said if heat.scale is None else f"{said}; strongest {_rounded(heat.scale)}"


def _verdict(prediction: Prediction) -> str:
    if not prediction.answered:
        return f"{prediction.predicted}, {prediction.reason}"
    label = prediction.predicted
    if label in prediction.scores:
        return f"{label}, score {prediction.scores[label]:.0f}"
    return f"{label} {prediction.probabilities[label]:.2f}"


def _words(prediction: Prediction, heat: HeatMap) -> list[str]:
    told = (
        f"Predicted {_verdict(prediction)}"
        if prediction.answered
        else f"Unsure: {REASONS[prediction.reason]}"
    )
    words = [f"{told}; the map is for {heat.target}"]
    if heat.note:
        words.append(heat.note)
    found = [name for name, present in prediction.findings.items() if present]
    return [*words, f"Quality: {', '.join(found)}"] if found else words
