"""A heat map over a film: made from a method's answer, drawn, and saved."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError
from cxrlens.explanation.method import Answer, Method
from cxrlens.files import moved_into_place, refuse_existing
from cxrlens.lungs import Outline
from cxrlens.quality.step import Examination
from cxrlens.radiographs.grey import Film, Floats, Levels

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """Colours of a heat map.

    Attributes
    ----------
    rising
        matplotlib's name of the colours from 0 to 1.
    against, support
        RGB for what speaks against the class, and for it.
    through
        matplotlib's name of the colours from -1 to 1; without one they run from `against` over a pale
        grey to `support`.
    """

    rising: str
    against: Colour
    support: Colour
    through: str = ""

    @property
    def fades(self) -> bool:
        """True where the film stays as it is where the map is 0."""
        return not self.through

    def colours(self, values: float | NDArray[np.floating], signed: bool = False) -> Floats:
        """Colour values in [0, 1], or [-1, 1] if `signed`: (…) to (…, 4), RGB and opacity in [0, 1]."""
        # matplotlib takes long to load, and a prediction without a picture needs none of it.
        from matplotlib import colormaps
        from matplotlib.colors import LinearSegmentedColormap

        if not signed:
            return np.asarray(colormaps[self.rising](values), np.float64)
        ends = [np.array(rgb) / 255 for rgb in (self.against, _PALE, self.support)]
        own = LinearSegmentedColormap.from_list("own", [tuple(end) for end in ends])
        through = colormaps[self.through] if self.through else own
        return np.asarray(through(np.asarray(values) / 2 + 0.5), np.float64)


_PALE = (246, 246, 246)
PALETTES = {
    "ember": Palette("inferno", (235, 110, 0), (0, 125, 240)),
    "report": Palette("jet", (220, 40, 40), (30, 180, 60), "RdBu"),
}
"""Palettes by name.

The default is safe for colour-blind eyes (orange against, blue for) and leaves the film untouched where
nothing counts. The 2023 study's covers the film: from blue to red where nothing is negative, else red against
and blue for; regions are green for and red against.
"""

FLOOR = 0.01
"""Change of a probability below which nothing is said to have changed, and the map stays pale."""

STRONG = 0.25
"""Share of the strongest value from which a part is drawn as speaking for or against the class."""


_IN_NOTEBOOK = 512
"""Pixels of a picture's height where a notebook shows it."""


@dataclass(frozen=True)
class HeatMap:
    """How much each part of a film counts for one class.

    Attributes
    ----------
    values
        (H, W) float32 in the film's own geometry, in [0, 1], 1 where it matters most. Where `signed`, in
        [-1, 1]: parts below 0 speak against the class.
    film
        (H, W) uint8, the film as it was read.
    method
        The explaining method's name.
    target
        The class that is explained.
    scale
        What 1 stands for, on the scale of probabilities; none where that is not known.
    note
        What is to be known of how the map came about, a sentence; may be empty.
    signed
        Whether values below 0 may stand in the map and mean something.
    regional
        Whether it consists of regions with edges.
    lungs
        Outlines of the lung fields, drawn over the overlay; may be empty.
    mark
        Written into a corner of what is drawn, e.g. that the film was left unsure; may be empty.
    """

    values: Levels
    film: Film
    method: str
    target: str
    scale: float | None = None
    note: str = ""
    signed: bool = False
    regional: bool = False
    lungs: Outline = ()
    mark: str = ""

    @classmethod
    def of(
        cls,
        method: Method,
        answer: Answer,
        target: str,
        film: Film,
        examination: Examination,
        mark: str = "",
    ) -> Self:
        """Bring a method's answer into the film's own geometry.

        Parameters
        ----------
        method, answer, target
            Who answered, what, and for which class.
        film
            (H, W) uint8, as it was read.
        examination
            The film as the network saw it: where borders were cropped the map is 0.
        mark
            See `HeatMap`.
        """
        height, width = film.shape
        top, bottom, left, right = examination.cropped
        values = answer.values if answer.absolute else normalised(answer.values)
        note = answer.note
        if answer.scale is not None and answer.scale < FLOOR:
            # Stretched to full colour, a change of nothing would look like much.
            values = values * np.float32(answer.scale / FLOOR)
            note = f"No part of the film changes this score: the strongest counts {answer.scale:.1g}. {note}"
        seen = to_film(
            values, (height - top - bottom, width - left - right), smooth=not method.regional
        )
        return cls(
            np.pad(seen, ((top, bottom), (left, right))),
            film,
            method.name,
            target,
            answer.scale,
            note,
            method.signed,
            method.regional,
            examination.lungs.outline() if examination.lungs else (),
            mark,
        )

    def colours(self, palette: str = "ember") -> Film:
        """Draw the map alone, (H, W, 3) RGB."""
        drawn = PALETTES[palette].colours(self.values, self.signed)
        return np.asarray(np.rint(drawn[..., :3] * 255), np.uint8)

    def overlay(self, palette: str = "ember", opacity: float = 0.6) -> Film:
        """Lay the map over the film.

        Parameters
        ----------
        palette
            A key of `PALETTES`.
        opacity
            Of the map where it is strongest, in [0, 1].

        Returns
        -------
        ndarray of uint8
            (H, W, 3) RGB.
        """
        chosen = PALETTES[palette]
        colours = self.colours(palette).astype(np.float64)
        if self.signed and chosen.fades:
            # Fading towards the diverging colours' pale middle would veil the film.
            colours = np.where(self.values[..., None] < 0, chosen.against, chosen.support)
        share = opacity * (np.abs(self.values)[..., None] if chosen.fades else 1.0)
        mixed: Film = np.rint(share * colours + (1 - share) * self._grey()).astype(np.uint8)
        return self._marked(self._outlined(mixed))

    def _marked(self, picture: Film) -> Film:
        """Write the mark into the lower left corner of a picture (H, W, 3), on black."""
        if not self.mark:
            return picture
        scale = max(0.3, picture.shape[1] / 640)
        thick = max(1, round(scale))
        (width, height), below = cv2.getTextSize(self.mark, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        fits = min(1.0, picture.shape[1] / (width + 8))
        scale, width, height = scale * fits, round(width * fits), round(height * fits)
        drawn = picture.copy()
        bottom = len(drawn)
        drawn[max(0, bottom - height - below - 6) :, : width + 8] = 0
        place = (4, bottom - below - 1)
        cv2.putText(
            drawn, self.mark, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255,) * 3, thick, cv2.LINE_AA
        )
        return drawn

    def _outlined(self, picture: Film) -> Film:
        """Draw the lungs' outlines over a picture (H, W, 3), half as strong as a line would be."""
        if not self.lungs:
            return picture
        height, width = self.film.shape
        lines = [
            np.rint(np.array(polygon) * (width, height) - 0.5).astype(np.int32)
            for polygon in self.lungs
        ]
        drawn, broad = picture.copy(), max(1, round(max(height, width) / 400))
        cv2.polylines(drawn, lines, True, (255, 255, 255), broad, cv2.LINE_AA)
        return np.asarray(cv2.addWeighted(drawn, 0.5, picture, 0.5, 0), np.uint8)

    def beside(self, palette: str = "ember") -> Film:
        """Put the plain film and the overlay side by side, (H, 2 W, 3) RGB."""
        return np.concatenate([self._grey(), self.overlay(palette)], axis=1)

    def regions(self, palette: str = "ember", opacity: float = 0.4) -> Film:
        """Draw on the film the parts that speak strongly for the class and against it, (H, W, 3) RGB.

        Strongly is a quarter or more of the strongest value.
        """
        chosen = PALETTES[palette]
        drawn = self._grey()
        for part, colour in (
            (self.values >= STRONG, chosen.support),
            (self.values <= -STRONG, chosen.against),
        ):
            tinted = (1 - opacity) * drawn[part] + opacity * np.array(colour)
            drawn[part] = np.rint(tinted).astype(np.uint8)
            edges, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(drawn, edges, -1, colour, max(1, round(max(part.shape) / 256)))
        return self._marked(drawn)

    def panels(self, palette: str = "ember") -> Film:
        """Put three pictures side by side, as Figures 14 to 16 of the 2023 study do, (H, 3 W, 3) RGB.

        The film; what speaks strongly for the class and against it; every part's weight.
        """
        return np.concatenate([self._grey(), self.regions(palette), self.colours(palette)], axis=1)

    def picture(self, palette: str = "ember") -> Film:
        """Draw what suits the map: three panels for regions, else the film and the overlay."""
        return self.panels(palette) if self.regional else self.beside(palette)

    def _grey(self) -> Film:
        return np.asarray(np.repeat(self.film[..., None], 3, axis=2), np.uint8)

    def __repr__(self) -> str:
        height, width = self.film.shape
        return f"<HeatMap {self.method} for {self.target}, {width} × {height} pixels>"

    def _repr_png_(self) -> bytes:
        picture = self.picture()
        shrunk = min(1.0, _IN_NOTEBOOK / len(picture))
        size = (max(1, round(picture.shape[1] * shrunk)), max(1, round(len(picture) * shrunk)))
        return _png(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8))

    def save(self, path: str | Path, palette: str = "ember", force: bool = False) -> Path:
        """Write `picture` as PNG.

        Raises
        ------
        OutputError
            If the file exists and `force` is false, or it cannot be written.
        CxrlensError
            If the palette is unknown.
        """
        check_palette(palette)
        return write_png(Path(path), self.picture(palette), force)


def write_png(path: Path, picture: Film, force: bool = False) -> Path:
    """Write a picture (H, W, 3) RGB as PNG.

    Raises
    ------
    OutputError
        If the file exists and `force` is false, or it cannot be written.
    """
    refuse_existing(path, force)
    with moved_into_place(path) as draft:
        draft.write_bytes(_png(picture))
    return path


def _png(picture: NDArray[np.uint8]) -> bytes:
    written, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert written
    return data.tobytes()


def check_palette(palette: str) -> None:
    """Raise `CxrlensError` for a palette that is not known."""
    if palette not in PALETTES:
        raise CxrlensError(f"unknown palette {palette!r}: known are {', '.join(PALETTES)}")


def to_film(values: Levels, shape: tuple[int, int], smooth: bool = True) -> Levels:
    """Bring a map (h, w) to a film's geometry (H, W); the squash is undone.

    Linearly, or, where `smooth` is false, so that regions keep their edges.
    """
    height, width = shape
    way = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(values, (width, height), interpolation=way), np.float32)


def normalised(values: Levels) -> Levels:
    """Divide a map by its largest absolute value; one that is 0 everywhere stays so."""
    highest = float(np.abs(values).max())
    return np.asarray(values / highest if highest > 0 else values, np.float32)
