"""The damages that the 2023 study found on its films, with known truth.

Drawing and applying are apart (as in TorchIO's random transforms): `draw_defect` draws the parameters
of a damage, a frozen dataclass; its `apply` is a pure function of the film, so that a draw can be
written down (`described`), read back (`recalled`) and replayed. Levels are those at which a film is
still read by an eye.
"""

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np

from cxrlens.radiographs.grey import Film, Mask


class Damaged(NamedTuple):
    """A damaged film and the truth about it.

    Parameters
    ----------
    film
        (H', W') uint8; H' and W' differ from the original's only after padding.
    kind
        Name of the damage, a key of `KINDS`.
    finding
        The finding by which the quality chain should name it.
    level
        How bad, in the damage's own unit (see each class).
    mask
        (H', W') bool where single places are damaged (noise, spots, patches, padding), else None.
    borders
        Width of padding at top, bottom, left and right, pixels.
    """

    film: Film
    kind: str
    finding: str
    level: float
    mask: Mask | None = None
    borders: tuple[int, int, int, int] = (0, 0, 0, 0)


KINDS: dict[str, type["Defect"]] = {}
"""Every damage by its name."""


@dataclass(frozen=True)
class Defect(ABC):
    """The drawn parameters of one damage; lengths are fractions of the film unless said otherwise."""

    kind: ClassVar[str]
    finding: ClassVar[str]

    def __init_subclass__(cls, kind: str, finding: str) -> None:
        """Enter the damage into `KINDS`."""
        cls.kind, cls.finding = kind, finding
        KINDS[kind] = cls

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Defect":
        """Draw the parameters; of a damage without any, nothing."""
        return cls()

    @abstractmethod
    def apply(self, film: Film) -> Damaged:
        """Damage a film, (H, W) uint8; the film given stays as it is."""

    def follow(self, mask: Mask) -> Mask:
        """Move a mask of the undamaged film with the damage."""
        return mask

    def _damaged(self, film: Film, level: float, mask: Mask | None = None) -> Damaged:
        return Damaged(film, self.kind, self.finding, level, mask)


@dataclass(frozen=True)
class Negative(Defect, kind="negative", finding="negative"):
    """Black and white exchanged; level 1."""

    def apply(self, film: Film) -> Damaged:
        """Return 255 minus the film."""
        return self._damaged(np.asarray(255 - film, np.uint8), 1.0)


@dataclass(frozen=True)
class Blur(Defect, kind="blur", finding="blurred"):
    """Gaussian blur; `sigma` and the level in pixels of a film of side 224."""

    sigma: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Blur":
        """Draw a sigma of 1.5 to 4."""
        return cls(round(float(rng.uniform(1.5, 4.0)), 2))

    def apply(self, film: Film) -> Damaged:
        """Blur with sigma in proportion to the film's height."""
        sigma = self.sigma * film.shape[0] / 224
        return self._damaged(
            np.asarray(cv2.GaussianBlur(film, (0, 0), sigma), np.uint8), self.sigma
        )


@dataclass(frozen=True)
class SaltAndPepper(Defect, kind="salt_and_pepper", finding="noisy"):
    """Single black and white pixels; the level is their share."""

    share: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "SaltAndPepper":
        """Draw a share of 1 to 8 %."""
        return cls(round(float(rng.uniform(0.01, 0.08)), 3), int(rng.integers(2**31)))

    def apply(self, film: Film) -> Damaged:
        """Set half of the share to 0, half to 255; the mask shows them all."""
        dice = np.random.default_rng(self.seed).random(film.shape, np.float32)
        low, high = dice < self.share / 2, dice > 1 - self.share / 2
        out = film.copy()
        out[low], out[high] = 0, 255
        return self._damaged(out, self.share, low | high)


@dataclass(frozen=True)
class UniformNoise(Defect, kind="uniform_noise", finding="noisy"):
    """Noise drawn evenly from ± `amplitude` grey values, which is the level."""

    amplitude: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "UniformNoise":
        """Draw an amplitude of 12 to 60."""
        return cls(round(float(rng.uniform(12, 60)), 1), int(rng.integers(2**31)))

    def apply(self, film: Film) -> Damaged:
        """Add the noise and clip."""
        dice = np.random.default_rng(self.seed).random(film.shape, np.float32)
        out = np.clip(film + self.amplitude * (2 * dice - 1), 0, 255).astype(np.uint8)
        return self._damaged(out, self.amplitude)


@dataclass(frozen=True)
class GaussianNoise(Defect, kind="gaussian_noise", finding="noisy"):
    """Gaussian noise; `sigma` and the level in grey values."""

    sigma: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "GaussianNoise":
        """Draw a sigma of 8 to 30."""
        return cls(round(float(rng.uniform(8, 30)), 1), int(rng.integers(2**31)))

    def apply(self, film: Film) -> Damaged:
        """Add the noise and clip."""
        dice = np.random.default_rng(self.seed).standard_normal(film.shape, np.float32)
        out = np.clip(film + self.sigma * dice, 0, 255).astype(np.uint8)
        return self._damaged(out, self.sigma)


@dataclass(frozen=True)
class Underexposure(Defect, kind="underexposure", finding="underexposed"):
    """A dark film: all greys scaled down; `mean` and the level are the mean grey that is reached."""

    mean: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Underexposure":
        """Draw a mean of 25 to 65 (the study calls a film underexposed below 71)."""
        return cls(round(float(rng.uniform(25, 65)), 1))

    def apply(self, film: Film) -> Damaged:
        """Scale the greys; a film that is darker already stays as it is."""
        factor = min(self.mean / max(float(film.mean()), 1.0), 1.0)
        return self._damaged((film * np.float32(factor)).astype(np.uint8), self.mean)


@dataclass(frozen=True)
class Padding(Defect, kind="padding", finding="padded"):
    """Even bars put beside the film on some sides; the level is their share of the padded film."""

    top: float
    bottom: float
    left: float
    right: float
    grey: int = 0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Padding":
        """Draw widths of 2 to 18 % for at least one side; the bars are black."""
        widths = np.round(rng.uniform(0.02, 0.18, 4), 3) * (rng.random(4) < 0.6)
        if not widths.any():
            widths[int(rng.integers(4))] = 0.1
        top, bottom, left, right = (float(w) for w in widths)
        return cls(top, bottom, left, right)

    def _borders(self, height: int, width: int) -> tuple[int, int, int, int]:
        top, bottom = round(self.top * height), round(self.bottom * height)
        return top, bottom, round(self.left * width), round(self.right * width)

    def apply(self, film: Film) -> Damaged:
        """Return the larger film; the mask shows the bars."""
        borders = self._borders(*film.shape)
        out = cv2.copyMakeBorder(film, *borders, cv2.BORDER_CONSTANT, value=self.grey)
        bars = ~self.follow(np.ones(film.shape, np.bool_))
        level = float(bars.mean())
        return Damaged(np.asarray(out, np.uint8), self.kind, self.finding, level, bars, borders)

    def follow(self, mask: Mask) -> Mask:
        """Pad the mask with False."""
        top, bottom, left, right = self._borders(*mask.shape)
        return np.pad(mask, ((top, bottom), (left, right)))


@dataclass(frozen=True)
class BlackSpots(Defect, kind="black_spots", finding="patched"):
    """Black discs, each (x of centre, y of centre, radius); the level is the share they cover."""

    discs: tuple[tuple[float, float, float], ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "BlackSpots":
        """Draw one to five discs with radii of 2 to 7 %."""
        n = int(rng.integers(1, 6))
        rows = np.column_stack([rng.random(n), rng.random(n), rng.uniform(0.02, 0.07, n)])
        return cls(tuple((float(x), float(y), float(r)) for x, y, r in np.round(rows, 3)))

    def apply(self, film: Film) -> Damaged:
        """Set the discs to 0."""
        height, width = film.shape
        stamp = np.zeros(film.shape, np.uint8)
        for x, y, r in self.discs:
            centre = (round(x * width), round(y * height))
            cv2.circle(stamp, centre, max(1, round(r * height)), 1, -1)
        mask = stamp > 0
        out = film.copy()
        out[mask] = 0
        return self._damaged(out, float(mask.mean()), mask)


@dataclass(frozen=True)
class Patches(Defect, kind="patches", finding="patched"):
    """Even rectangles laid over, each (left, top, width, height, grey); level as for spots."""

    rectangles: tuple[tuple[float, float, float, float, int], ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Patches":
        """Draw one to five black or white rectangles of 4 to 14 % by 2 to 7 %."""
        n = int(rng.integers(1, 6))
        size = rng.uniform(0.02, 0.07, n)
        rows = np.column_stack([rng.uniform(0, 0.95, n), rng.uniform(0, 0.97, n), 2 * size, size])
        greys = rng.choice([0, 255], n)
        drawn = zip(np.round(rows, 3).tolist(), greys.tolist(), strict=True)
        return cls(tuple((x, y, w, h, grey) for (x, y, w, h), grey in drawn))

    def apply(self, film: Film) -> Damaged:
        """Lay the rectangles over the film, later ones on top."""
        height, width = film.shape
        out, mask = film.copy(), np.zeros(film.shape, np.bool_)
        for x, y, w, h, grey in self.rectangles:
            rows = slice(round(y * height), max(round(y * height) + 1, round((y + h) * height)))
            columns = slice(round(x * width), max(round(x * width) + 1, round((x + w) * width)))
            out[rows, columns], mask[rows, columns] = grey, True
        return self._damaged(out, float(mask.mean()), mask)


def draw_defect(rng: np.random.Generator, kind: str | None = None) -> Defect:
    """Draw a damage.

    Parameters
    ----------
    rng
        What it is drawn with.
    kind
        A key of `KINDS`; any, evenly, if not given.

    Raises
    ------
    ValueError
        If there is no such kind.

    Examples
    --------
    >>> draw_defect(np.random.default_rng(0), "blur")
    Blur(sigma=3.09)
    """
    name = list(KINDS)[int(rng.integers(len(KINDS)))] if kind is None else kind
    if name not in KINDS:
        raise ValueError(f"kind is {name!r}: choose one of {', '.join(KINDS)}")
    return KINDS[name].draw(rng)


def described(defects: list[Defect]) -> str:
    """Write damages, in the order of their application, as one line of JSON."""
    return json.dumps([{"kind": d.kind, **asdict(d)} for d in defects])


def recalled(text: str) -> list[Defect]:
    """Read damages back from what `described` wrote."""
    defects = []
    for row in json.loads(text):
        fields: dict[str, Any] = {k: _frozen(v) for k, v in row.items() if k != "kind"}
        defects.append(KINDS[row["kind"]](**fields))
    return defects


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value
