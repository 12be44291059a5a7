"""The application: one typer app, the verbs registered in the order of a day's work."""

from typing import Annotated

import typer

from cxrlens import __version__
from cxrlens.cli import collections, models, quality
from cxrlens.cli.audit import audit
from cxrlens.cli.compare import compare
from cxrlens.cli.dicom import dicom_node
from cxrlens.cli.evaluate import evaluate
from cxrlens.cli.explore import explore
from cxrlens.cli.export import export
from cxrlens.cli.methods import ExplainCommand
from cxrlens.cli.serve import serve
from cxrlens.cli.tune import tune

app = typer.Typer(
    name="cxrlens",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learns to tell normal, pneumonia and tuberculosis apart on chest radiographs, and shows what "
    "it looked at.\n\nThe shortest way: `cxrlens demo`. With films of your own: `collect`, `split`, "
    "`train`, then `predict` and `explain`.\n\nResearch use only: not a medical device, not a diagnosis.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"cxrlens {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Options of cxrlens itself; its help stands above."""


app.command()(models.demo)
app.command()(collections.collect)
app.command()(explore)
app.command()(collections.merge)
app.command()(quality.check)
app.command()(quality.repair)
app.command()(collections.pairs)
app.command()(collections.split)
app.command()(models.train)
app.command()(tune)
app.command()(evaluate)
app.command()(compare)
app.command()(audit)
app.command(cls=ExplainCommand)(models.explain)
app.command()(models.predict)
app.command()(export)
app.command()(serve)
app.command()(dicom_node)
