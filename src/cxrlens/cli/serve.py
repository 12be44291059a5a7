"""The verb serve: an API and a page for one model."""

from pathlib import Path
from typing import Annotated

import typer

from cxrlens.cli.arguments import Device, Model, the_model
from cxrlens.cli.say import NOTICE, err

_MIB = 1024 * 1024


def serve(
    model: Model = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Holds the token that requests must bear (or set CXRLENS_TOKEN). Needed where other "
            "machines reach the address.",
        ),
    ] = None,
    megabytes: Annotated[
        int, typer.Option("--max-megabytes", min=1, help="Of one film's file.")
    ] = 64,
    megapixels: Annotated[int, typer.Option("--max-megapixels", min=1, help="Of one film.")] = 50,
    queue: Annotated[
        int, typer.Option(min=1, help="Films in the server at once; beyond it: 503.")
    ] = 32,
    batch: Annotated[int, typer.Option(min=1, help="Films of one call of the network.")] = 16,
    memory: Annotated[
        int,
        typer.Option(
            min=1, metavar="MB", help="For uploads, decoded films and maps that are kept."
        ),
    ] = 1024,
    seconds: Annotated[
        float, typer.Option("--timeout", min=0.1, help="For an upload, and for an answer.")
    ] = 60.0,
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="NAME", help="Answer to this name too, without a token."
        ),
    ] = None,
    origins: Annotated[
        list[str] | None,
        typer.Option("--allow-origin", metavar="URL", help="Pages of this origin may ask."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", metavar="PEM", help="Speak TLS.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", metavar="PEM", help="Its key.")] = None,
    device: Device = "cpu",
) -> None:
    """Serve a model: a page to look at films with, and an API for programs.

    Open http://127.0.0.1:8000 when it runs. Nothing that is sent is stored. Stop it with Ctrl-C.
    """
    from cxrlens.serving.limits import Limits
    from cxrlens.serving.server import serve

    limits = Limits(
        film_bytes=megabytes * _MIB,
        film_pixels=megapixels * 1_000_000,
        films=min(Limits.films, queue),
        queue=queue,
        batch=batch,
        upload_seconds=seconds,
        answer_seconds=seconds,
        memory=memory * _MIB,
    )
    err.print(NOTICE)
    serve(
        the_model(model),
        host,
        port,
        token_file=token_file,
        limits=limits,
        device=device,
        hosts=hosts or (),
        origins=origins or (),
        certificate=certificate,
        key=key,
    )
