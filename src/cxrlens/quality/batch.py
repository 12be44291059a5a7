"""Check and repair many films: a findings table, and repaired copies beside the originals."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from cxrlens.errors import FilmError, OutputError
from cxrlens.files import moved_into_place, short_stem
from cxrlens.progress import Progress
from cxrlens.quality.chain import Chain
from cxrlens.quality.step import Examination
from cxrlens.radiographs.read import read_radiograph

_AHEAD = 64


def check_films(
    films: Sequence[Path], chain: Chain, progress: Progress | None = None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Find what is wrong with films; no pixel is changed.

    Parameters
    ----------
    films
        Files.
    chain
        Its detectors look.
    progress
        Called with films done and films in all.

    Returns
    -------
    findings : DataFrame
        ``image`` and the findings columns, a row a film that could be read. Without a row, the columns alone.
    failures : dict
        Film and sentence of each that could not.
    """
    rows, failures = [], {}
    for path, outcome in _examined(films, chain, progress):
        if isinstance(outcome, FilmError):
            failures[str(path)] = str(outcome)
        else:
            rows.append({"image": str(path), **outcome.row(), "repairs": ""})
    return pd.DataFrame(rows, columns=["image", *_columns(chain)]), failures


def repair_films(
    films: Sequence[Path],
    chain: Chain,
    folder: Path,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Write a repaired square copy of each film as PNG into a folder.

    Names are kept; where two films share one, the later gets a number.

    Returns
    -------
    findings : DataFrame
        ``image``, ``repaired`` (the copy) and the findings columns.
    failures : dict
        Film and sentence of each that could not be read.

    Raises
    ------
    OutputError
        If a copy exists and `force` is false, if it would take the place of one of the films, or if the
        folder cannot be written.
    """
    names = _names(films)
    originals = {film.resolve() for film in films}
    for name in names:
        if (folder / name).resolve() in originals:
            raise OutputError(
                f"{folder / name} is one of the films themselves: choose another folder for the copies"
            )
    taken = [name for name in names if (folder / name).exists()]
    if taken and not force:
        raise OutputError(
            f"{folder / taken[0]} exists already: choose another folder, or say --force"
        )
    rows, failures = [], {}
    for name, (path, outcome) in zip(names, _examined(films, chain, progress), strict=True):
        if isinstance(outcome, FilmError):
            failures[str(path)] = str(outcome)
            continue
        with moved_into_place(folder / name) as draft:
            _, data = cv2.imencode(".png", outcome.pixels)
            draft.write_bytes(data.tobytes())
        rows.append({"image": str(path), "repaired": str(folder / name), **outcome.row()})
    return pd.DataFrame(rows, columns=["image", "repaired", *_columns(chain)]), failures


def _columns(chain: Chain) -> list[str]:
    return list(chain.check(np.zeros((chain.side, chain.side), np.uint8)).row())


def _names(films: Sequence[Path]) -> list[str]:
    """Name the copies; names that differ in capitals alone are one name on many file systems."""
    names: dict[str, str] = {}
    for path in films:
        stem, number = short_stem(path), 1
        name = f"{stem}.png"
        while name.lower() in names:
            number += 1
            name = f"{stem}-{number}.png"
        names[name.lower()] = name
    return list(names.values())


def _examined(
    films: Sequence[Path], chain: Chain, progress: Progress | None
) -> Iterator[tuple[Path, Examination | FilmError]]:
    def examine(path: Path) -> Examination | FilmError:
        try:
            return chain.examine(read_radiograph(path))
        except FilmError as error:
            return error

    queue, done = iter(films), 0
    with ThreadPoolExecutor() as pool:
        while batch := list(islice(queue, _AHEAD)):
            for path, outcome in zip(batch, pool.map(examine, batch), strict=True):
                done += 1
                if progress:
                    progress(done, len(films))
                yield path, outcome
