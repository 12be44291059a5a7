"""A look at every film of a collection: size, format, intensity, findings, samples."""

import io
import zlib
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from cxrlens.collections.collection import Collection
from cxrlens.collections.same_films import pixel_key
from cxrlens.progress import Progress
from cxrlens.quality.chain import LOOKING_SIDE, Chain, examined
from cxrlens.quality.detail import QuietResponse, ResponseVariance, response_picture
from cxrlens.quality.exposure import CornerNegative, DarkMean, bright_corner_share
from cxrlens.quality.step import Step
from cxrlens.radiographs.grey import Film, median, otsu_threshold, resize
from cxrlens.radiographs.read import decode_film, look_at_films, read_bytes

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)

URGENCY = {
    "not_a_chest": 4.0,
    "torn": 3.0,
    "burnt_in_text": 3.0,
    "saturated": 2.0,
    "patched": 2.0,
    "negative": 2.0,
    "underexposed": 2.0,
    "blurred": 2.0,
    "photographed": 2.0,
    "noisy": 1.0,
    "padded": 0.5,
}
"""How much a finding asks for a human eye: a border is cropped and harms little, a hand in the set does."""

# Sum of table K.1 of ITU-T T.81, the luminance table that JPEG's quality scales.
_LUMINANCE = 3688


@dataclass
class Shelf:
    """The films that come first by a rank, of those that were offered; memory is bounded.

    Attributes
    ----------
    limit
        Films that it holds.
    """

    limit: int
    _held: list[tuple[float, str, Film]] = field(default_factory=list)

    def offer(self, rank: float, image: str, film: Film) -> None:
        """Keep the film if its rank is among the lowest; of equal ranks, the first by name."""
        if all(image != kept for _, kept, _ in self._held):
            # Sorted by rank and name only: films are arrays, which have no order.
            self._held.append((rank, image, film))
            self._held.sort(key=itemgetter(0, 1))
            del self._held[self.limit :]

    def films(self) -> list[tuple[str, Film]]:
        """Image and (224, 224) film of what it holds, lowest rank first."""
        return [(image, film) for _, image, film in self._held]


class Survey(NamedTuple):
    """The measurements and samples of a look at every film.

    Attributes
    ----------
    films
        The collection's rows that could be read, with ``width``, ``height``, ``format``, ``mode``,
        ``mean``, ``std``, ``p1`` ... ``p99`` (grey levels, 0 to 255), ``pixels`` (a digest of the
        decoded film, missing where all is of one grey level) and the findings columns.
    failures
        Image and sentence of each film that could not be read.
    shelves
        Seeded samples: ``class NAME``, ``with DEFECT``, ``without``; and ``worst``, by
        scores weighted with `URGENCY`.
    defects
        What the chain looked for.
    """

    films: pd.DataFrame
    failures: dict[str, str]
    shelves: dict[str, Shelf]
    defects: tuple[str, ...]


def survey(
    collection: Collection,
    chain: Chain,
    seed: int = 0,
    sheet: int = 8,
    progress: Progress | None = None,
) -> Survey:
    """Read every film once, in threads, and measure it.

    Parameters
    ----------
    collection
        Whose films.
    chain
        Its detectors look; no pixel is changed.
    seed
        Of the samples: the same seed chooses the same films.
    sheet
        Films of each sample.
    progress
        Called with films done and films in all.

    Examples
    --------
    >>> from cxrlens import read_collection
    >>> from cxrlens.quality.chain import Chain
    >>> seen = survey(read_collection("films.csv"), Chain.named("report"))
    >>> seen.films["width"].max(), seen.failures
    (np.int64(96), {})
    >>> len(seen.shelves["class tuberculosis"].films())
    8
    """
    table = collection.films
    images = table["image"].tolist()
    label_of = dict(zip(images, table["label"], strict=True)) if "label" in table else {}
    defects = tuple(step.defect for step in chain.steps)
    shelves: dict[str, Shelf] = {}
    rows: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    look = partial(_looked, chain=chain)
    for image, (row, film) in look_at_films(images, look, failures, progress):
        rows.append({"image": image, **row})
        # A film's draw depends on its name and the seed, not on which thread came first.
        draw = float(zlib.crc32(f"{seed} {image.rpartition('/')[2]}".encode()))
        found = [name for name in defects if row[name]]
        places = [f"with {name}" for name in found] or ["without"]
        places += [f"class {label_of[image]}"] if isinstance(label_of.get(image), str) else []
        for place in places:
            shelves.setdefault(place, Shelf(sheet)).offer(draw, image, film)
        if found:
            urgency = sum(row[f"{name}_score"] * URGENCY[name] for name in found)
            shelves.setdefault("worst", Shelf(2 * sheet)).offer(-urgency, image, film)
    measured = pd.DataFrame(rows, columns=None if rows else ["image"])
    # A table may bring columns of these names (width, noisy, ...); what was seen here counts.
    own = [name for name in table.columns if name == "image" or name not in measured.columns]
    seen = table[own].merge(measured, on="image")
    return Survey(seen, failures, shelves, defects)


def _looked(image: str, chain: Chain) -> tuple[dict[str, Any], Film]:
    data = read_bytes(image)
    read, header = decode_film(data, image), header_of(data)
    film = read.pixels
    levels = np.bincount(film.ravel(), minlength=256)
    upto = np.cumsum(levels)
    grey = np.arange(256)
    mean = float(levels @ grey) / film.size
    row: dict[str, Any] = {
        "width": film.shape[1],
        "height": film.shape[0],
        "format": header["format"],
        "mode": header["mode"],
        "mean": mean,
        "std": float(np.sqrt(levels @ (grey - mean) ** 2 / film.size)),
        "pixels": pixel_key(film) or None,
    }
    for share in PERCENTILES:
        row[f"p{share}"] = int(np.searchsorted(upto, share / 100 * film.size))
    findings = examined(read, image, chain.check).row()
    findings.pop("repairs", None)
    return row | findings, resize(film, LOOKING_SIDE)


def header_of(data: bytes) -> dict[str, Any]:
    """Read ``format``, pixel ``mode`` (Pillow's words) and JPEG ``quality`` from a file's header alone."""
    try:
        with Image.open(io.BytesIO(data)) as header:
            tables = getattr(header, "quantization", None) or {}
            quality = _quality(tables[0]) if 0 in tables else np.nan
            return {"format": str(header.format), "mode": str(header.mode), "quality": quality}
    except UnidentifiedImageError:
        return {"format": "DICOM", "mode": "not known", "quality": np.nan}


def _quality(table: list[int]) -> float:
    """Estimate the quality setting (1 to 100, of the Independent JPEG Group) from a luminance table."""
    scale = 100 * float(np.sum(table)) / _LUMINANCE
    return float(np.clip((200 - scale) / 2 if scale <= 100 else 5000 / scale, 1, 100))


Pictures = list[tuple[str, Film]]


def detection_steps(defect: str, film: Film) -> tuple[Pictures, str]:
    """Show what the 2023 study's detector of a defect sees on one film, and what its repair gives.

    Parameters
    ----------
    defect
        ``negative``, ``underexposed``, ``noisy`` or ``blurred``.
    film
        (224, 224) uint8.

    Returns
    -------
    pictures : list of (str, ndarray)
        Name and (224, 224) uint8 picture of each step, the film itself first.
    figure : str
        The statistic beside its threshold, in words.

    Raises
    ------
    KeyError
        If the study has no such detector.
    """
    step: Step = {step.defect: step for step in Chain.named("report").square}[defect]
    pictures: Pictures = [("film", film)]
    if isinstance(step, CornerNegative):
        bright = np.where(film > otsu_threshold(film), 255, 0).astype(np.uint8)
        share = bright_corner_share(film, step.corner)
        pictures += [("Otsu", bright)]
        words = f"bright share of the corners {share:.2f}, threshold {step.share:.2f}"
    elif isinstance(step, DarkMean):
        words = f"mean {film.mean():.0f}, threshold {step.mean:.0f}"
    else:
        assert isinstance(step, ResponseVariance | QuietResponse)
        strong = step.strengthened(film)
        pictures += [("LoG", response_picture(film, step.sigma, step.gain)), ("CLAHE", strong)]
        if isinstance(step, QuietResponse):
            binary = np.where(strong > step.level, 255, 0).astype(np.uint8)
            pictures += [(f"above {step.level}", binary)]
        else:
            pictures += [("median", median(film, step.median))]
        words = f"variance {step.statistic(film):,.0f}, threshold {step.variance:,.0f}"
    last = "then box" if isinstance(step, ResponseVariance) else "repair"
    return [*pictures, (last, step.repair(film))], words
