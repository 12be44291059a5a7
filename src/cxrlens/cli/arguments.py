"""Arguments and options that several verbs share."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cxrlens.cli.say import err, escape
from cxrlens.errors import CxrlensError, FilmError

Table = Annotated[
    Path, typer.Argument(metavar="FILMS.CSV", help="A collection, as `cxrlens collect` makes it.")
]
Films = Annotated[
    list[Path], typer.Argument(metavar="FILM|DIR...", help="Films, or folders of films.")
]
Model = Annotated[
    Path | None,
    typer.Option(
        metavar="MODEL",
        help="A run folder, a bundle, or an installed model's name (default: the one installed).",
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
Site = Annotated[
    Path | None,
    typer.Option(
        "--site",
        metavar="SITE",
        help="A file of `cxrlens calibrate`: thresholds and probabilities of one's own place.",
    ),
]
ForceAnswer = Annotated[
    bool,
    typer.Option(
        "--force-answer", help="Name a class even where the answer is `unsure`: for research."
    ),
]
ChainName = Annotated[str, typer.Option("--chain", help="The quality chain that looks.")]


def the_model(given: Path | None) -> Path:
    """Find the model that was asked for; see `cxrlens.runs.installed.model_at`."""
    from cxrlens.runs.installed import model_at

    return model_at(given)


def refuse_model(path: Path, verb: str, of: str) -> None:
    """Raise `CxrlensError` if what stands where films should is a model; the sentence says how to call it."""
    from cxrlens.runs import is_model

    if is_model(path):
        raise CxrlensError(f"{path} is a model: cxrlens {verb} {of} --model {path}")


def films_in(paths: list[Path], verb: str = "predict") -> list[Path]:
    """List the films that were named, those in folders included.

    Raises
    ------
    FilmError
        If there is none, or a path does not exist or may not be searched.
    CxrlensError
        If a path is a run or a bundle; the sentence shows how `verb` takes it.
    """
    from cxrlens.radiographs.read import find_films, other_files

    for path in paths:
        refuse_model(path, verb, "FILM")

    films = find_films(paths)
    passed = sum((other_files(path) for path in paths if path.is_dir()), Counter())
    if passed:
        kinds = ", ".join(f"{count} {kind}" for kind, count in passed.most_common(9))
        err.print(f"Passed over, no kind of film that can be read: {escape(kinds)}")
    if not films:
        named = ", ".join(map(str, paths))
        raise FilmError(
            f"there is no film below {named}: name a folder of PNG, JPEG, TIFF, BMP, WebP or DICOM files"
        )
    return films


OPTION = "method"
"""The parameter of the verb that names a method."""


def complete(incomplete: str) -> list[tuple[str, str]]:
    """Offer a shell the methods whose names begin so, with what they show."""
    from cxrlens.explanation import METHODS

    return [(name, method.about) for name, method in METHODS.items() if name.startswith(incomplete)]


class ExplainCommand(TyperCommand):
    """The verb explain, whose help says what each method shows."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help with the names of the methods, and their words, in it."""
        told = complete("")
        for option in self.params:
            if option.name == OPTION:
                listed = "; ".join(f"{name}: {about}" for name, about in told)
                option.metavar = "|".join(name for name, _ in told)
                option.help = (  # type: ignore[attr-defined]
                    f"How to explain (default: the first that suits the model). {listed}."
                )
        super().format_help(ctx, formatter)
