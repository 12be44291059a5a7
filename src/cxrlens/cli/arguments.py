"""Arguments and options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

from cxrlens.errors import FilmError

Table = Annotated[
    Path, typer.Argument(metavar="FILMS.CSV", help="A collection, as `cxrlens collect` makes it.")
]
Films = Annotated[
    list[Path], typer.Argument(metavar="FILM|DIR...", help="Films, or folders of films.")
]
Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="A run folder of `cxrlens train`, or a bundle of `export`."
    ),
]
OutFile = Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The file to write.")]
OutFolder = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="The folder to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
Cache = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where decoded films are kept (default: your cache folder)."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
ChainName = Annotated[str, typer.Option("--chain", help="The quality chain that looks.")]


def films_in(paths: list[Path]) -> list[Path]:
    """List the films that were named, those in folders included.

    Raises
    ------
    FilmError
        If there is none, or a path does not exist or may not be searched.
    """
    from cxrlens.radiographs.read import find_films

    films = find_films(paths)
    if not films:
        named = ", ".join(map(str, paths))
        raise FilmError(
            f"there is no film below {named}: name a folder of PNG, JPEG, TIFF or DICOM files"
        )
    return films
