"""A sheet: several films of a class, a row each, with their maps side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cxrlens.explanation.heatmap import HeatMap
from cxrlens.pages.figures import style

_TILE = 320


@dataclass(frozen=True)
class SheetRow:
    """A film and its maps.

    Attributes
    ----------
    name
        Stands at its left, e.g. the file and what was predicted.
    maps
        The model's map, then each member's if it has any; all of the same film.
    """

    name: str
    maps: Sequence[HeatMap]


def sheet(
    rows: Sequence[SheetRow], title: str, members: Sequence[str] = (), palette: str = "ember"
) -> NDArray[np.uint8]:
    """Draw films and maps in a grid.

    Parameters
    ----------
    rows
        The films, top to bottom.
    title
        Over the sheet.
    members
        Names of the members, as many as each row has maps after its first.
    palette
        A key of `cxrlens.explanation.heatmap.PALETTES`.

    Returns
    -------
    ndarray of uint8
        (h, w, 3) RGB. a map of regions shows its three panels, any other the film and the map over it; then
        each member's map over the film.
    """
    three = rows[0].maps[0].regional
    heads = ["film", "for and against", "weights"] if three else ["film", "model"]
    heads += list(members)
    with style():
        drawing = Figure(
            figsize=(2.3 * len(heads) + 0.4, 2.45 * len(rows) + 0.5),
            dpi=110,
            layout="constrained",
            facecolor="white",
        )
        canvas = FigureCanvasAgg(drawing)
        drawing.suptitle(title, fontsize=11, fontweight="bold")
        grid = drawing.subplots(len(rows), len(heads), squeeze=False)
        for axes, row in zip(grid, rows, strict=True):
            first = row.maps[0]
            tiles = [np.repeat(first.film[..., None], 3, axis=2)]
            tiles += (
                [first.regions(palette), first.colours(palette)]
                if three
                else [first.overlay(palette)]
            )
            tiles += [heat.overlay(palette) for heat in row.maps[1:]]
            for place, tile in zip(axes, tiles, strict=True):
                place.imshow(_small(tile))
                place.set_xticks([])
                place.set_yticks([])
                place.grid(visible=False)
                place.spines[:].set_visible(False)
            axes[0].set_ylabel(row.name, fontsize=8)
        for place, head in zip(grid[0], heads, strict=True):
            place.set_title(head, fontsize=9)
        canvas.draw()  # type: ignore[no-untyped-call]
        drawn = np.asarray(canvas.buffer_rgba(), np.uint8)  # type: ignore[no-untyped-call]
    return drawn[..., :3].copy()


def _small(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    ratio = _TILE / max(tile.shape[:2])
    way = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(tile, None, fx=ratio, fy=ratio, interpolation=way), np.uint8)
