"""Whole films decoded in processes apart, for programs that take films from strangers.

A few bytes can ask for minutes of work or for gigabytes: thousands of scans, pages, chunks or elements.
No list of such files is complete, so the work itself is bounded, in processor time and memory, and what
exceeds it ends with its process.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import FilmError
from cxrlens.radiographs.decoding import Decoders
from cxrlens.radiographs.film import Film, grey_of
from cxrlens.radiographs.read import MAX_PIXELS, read_bytes

SECONDS = 8.0
"""Of processor time that a film may take; one of 30 million pixels takes less than 1."""

LATE = 60.0
"""Seconds by the clock, for a machine that has little time to give."""

_decoders = Decoders(Path(__file__).with_name("film_process.py"))


def decode_film_apart(
    data: bytes, name: str, max_pixels: int = MAX_PIXELS, seconds: float = SECONDS
) -> NDArray[np.uint8]:
    """Decode a film as `cxrlens.radiographs.read.decode_radiograph` does, under bounds.

    Parameters
    ----------
    data, name, max_pixels
        See there.
    seconds
        Of processor time.

    Raises
    ------
    FilmError
        As there; and if decoding takes more time or memory than any film.
    """
    job = {"name": name, "max_pixels": max_pixels, "processor_seconds": seconds}
    try:
        return np.asarray(_decoders.answer(job, data, LATE, name), np.uint8)
    except ValueError as error:
        raise FilmError(str(error)) from error


def read_film_apart(film: Film) -> NDArray[np.uint8]:
    """Read any film; one that lies in a file is decoded under bounds.

    Raises
    ------
    FilmError
        See `decode_film_apart` and `cxrlens.radiographs.film.grey_of`.
    """
    if isinstance(film, str | Path):
        return decode_film_apart(read_bytes(film), str(film))
    return grey_of(film)


def end_decoders() -> None:
    """End the processes; films that are being decoded are given up."""
    _decoders.end()
