"""A heat map over a film: what every explaining method gives, and how it is drawn and saved."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError
from cxrlens.writing import moved_into_place, refuse_existing

PALETTES = {"ember": ("inferno", True), "report": ("jet", False)}
"""Palettes by name: matplotlib's name, and whether the map fades out where it is low.

The default is safe for colour-blind eyes and leaves the film untouched where nothing counts; the
report's covers the film from blue to red.
"""


@dataclass(frozen=True)
class HeatMap:
    """How much each part of a film counts for one class.

    Attributes
    ----------
    values
        (H, W) float32 in [0, 1] in the film's own geometry, 1 where it matters most.
    film
        (H, W) uint8, the film as it was read.
    method
        The explaining method's name.
    target
        The class that is explained.
    """

    values: NDArray[np.float32]
    film: NDArray[np.uint8]
    method: str
    target: str

    def overlay(self, palette: str = "ember", opacity: float = 0.6) -> NDArray[np.uint8]:
        """Lay the map over the film.

        Parameters
        ----------
        palette
            A key of `PALETTES`.
        opacity
            Of the map where it is highest, in [0, 1].

        Returns
        -------
        ndarray of uint8
            (H, W, 3) RGB.
        """
        name, fades = PALETTES[palette]
        colours = matplotlib.colormaps[name](self.values)[..., :3] * 255
        grey = np.repeat(self.film[..., None], 3, axis=2)
        share = opacity * (self.values[..., None] if fades else 1.0)
        mixed: NDArray[np.uint8] = np.rint(share * colours + (1 - share) * grey).astype(np.uint8)
        return mixed

    def beside(self, palette: str = "ember") -> NDArray[np.uint8]:
        """Put the plain film and the overlay side by side, (H, 2 W, 3) RGB."""
        grey = np.repeat(self.film[..., None], 3, axis=2)
        return np.concatenate([grey, self.overlay(palette)], axis=1)

    def save(self, path: str | Path, palette: str = "ember", force: bool = False) -> Path:
        """Write the plain film and the overlay side by side as PNG.

        Raises
        ------
        OutputError
            If the file exists and `force` is false, or it cannot be written.
        CxrlensError
            If the palette is unknown.
        """
        path = Path(path)
        if palette not in PALETTES:
            raise CxrlensError(f"unknown palette {palette!r}: known are {', '.join(PALETTES)}")
        refuse_existing(path, force)
        with moved_into_place(path) as draft:
            written, data = cv2.imencode(
                ".png", cv2.cvtColor(self.beside(palette), cv2.COLOR_RGB2BGR)
            )
            assert written
            draft.write_bytes(data.tobytes())
        return path


def to_film(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bring a coarse map (h, w) to a film's geometry (H, W), linearly; the squash is undone."""
    height, width = shape
    return np.asarray(
        cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )


def normalised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide a map of values 0 or more by its maximum; one that is 0 everywhere stays so."""
    highest = float(values.max())
    return np.asarray(values / highest if highest > 0 else values, np.float32)
