"""The verb export: from a run to a bundle that needs no PyTorch."""

from pathlib import Path
from typing import Annotated

import typer

from cxrlens.cli.arguments import Force
from cxrlens.cli.say import done, err, stages


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    folder: Annotated[
        Path, typer.Option("-o", "--out", metavar="BUNDLE", help="The bundle to make, a folder.")
    ],
    force: Force = False,
) -> None:
    """Export a run as a bundle: every verb that takes a model takes it, without PyTorch.

    It is compared with the run before it is put in place: probabilities and Grad-CAM are the same.
    """
    from cxrlens.serving.export import export

    with stages() as bars:
        result = export(run, folder, force=force, progress=bars)
    if result.without_maps:
        err.print(result.without_maps)
    if result.unknown:
        err.print(
            f"{result.unknown} films of training and validation are gone: evaluate cannot recognise "
            "them among other films."
        )
    done(
        f"{result.path}: {result.bytes / 1e6:.1f} MB, probabilities within {result.difference:.1e} "
        "of the run's.",
        f"cxrlens predict FILM... --model {result.path}",
    )
