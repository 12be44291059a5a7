"""Every film of a collection read once: a small square, its digests, and what its file says."""

import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cxrlens.collections.collection import Collection
from cxrlens.collections.same_films import pixel_key
from cxrlens.errors import CollectionError, FilmError
from cxrlens.radiographs.read import decode_radiograph, read_bytes
from cxrlens.radiographs.resize import resize

SIDE = 128
"""Pixels of the squares on which copies are compared and probes look."""

_AHEAD = 64

# Sum of table K.1 of ITU-T T.81, the luminance table that JPEG's quality scales.
_LUMINANCE = 3688

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Films:
    """Films that could be read.

    Attributes
    ----------
    table
        Their rows of the collection, numbered from 0, with ``film_digest`` and ``pixel_digest``.
    pixels
        (N, 128, 128) uint8, squashed to a square; no defect is repaired, since defects give away too.
    files
        What each file says of itself: ``width``, ``height``, ``format``, ``mode``, ``quality`` (of
        JPEG, 1 to 100, else NaN), ``bytes_per_pixel``.
    failures
        Image and sentence of each film that is gone or cannot be read.
    """

    table: pd.DataFrame
    pixels: NDArray[np.uint8]
    files: pd.DataFrame
    failures: dict[str, str]

    def __len__(self) -> int:
        return len(self.table)


def read_films(collection: Collection, progress: Progress | None = None) -> Films:
    """Read every film once, in threads.

    Raises
    ------
    CollectionError
        If not one film can be read.
    """

    def look(image: str) -> tuple[dict[str, object], NDArray[np.uint8]] | FilmError:
        try:
            data = read_bytes(image)
            film = decode_radiograph(data, image)
        except FilmError as error:
            return error
        height, width = film.shape
        digest = hashlib.blake2b(data, digest_size=12).hexdigest()
        facts = _file_facts(data) | {
            "width": width,
            "height": height,
            "bytes_per_pixel": len(data) / film.size,
            "film_digest": digest,
            # A blank sheet is the same as another only if the file is.
            "pixel_digest": pixel_key(film) or digest,
        }
        return facts, resize(film, SIDE)

    rows: list[dict[str, object]] = []
    squares: list[NDArray[np.uint8]] = []
    kept: list[int] = []
    failures: dict[str, str] = dict(collection.missing)
    queue = enumerate(collection.films["image"])
    done = 0
    with ThreadPoolExecutor() as pool:
        while batch := list(islice(queue, _AHEAD)):
            outcomes = pool.map(look, [image for _, image in batch])
            for (place, image), outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, FilmError):
                    failures[image] = str(outcome)
                else:
                    rows.append(outcome[0])
                    squares.append(outcome[1])
                    kept.append(place)
            done += len(batch)
            if progress:
                progress(done, len(collection))
    if not rows:
        raise CollectionError(
            f"none of the {len(collection)} films can be read: {next(iter(failures.values()))}"
        )
    files = pd.DataFrame(rows)
    digests = files[["film_digest", "pixel_digest"]]
    table = collection.films.iloc[kept].reset_index(drop=True)
    return Films(
        table.assign(**digests),
        np.stack(squares),
        files.drop(columns=list(digests)),
        failures,
    )


def _file_facts(data: bytes) -> dict[str, object]:
    """Give format, mode (Pillow's words) and JPEG quality from a file's header alone."""
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
