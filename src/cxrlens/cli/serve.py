"""Verbs that stay: serve, and the DICOM node."""

from pathlib import Path
from typing import Annotated

import typer

from cxrlens.cli.terminal import (
    NOTICE,
    Device,
    Model,
    Site,
    TlsAuthority,
    TlsKey,
    done,
    err,
    the_model,
)
from cxrlens.errors import need

_MIB = 1024 * 1024


def serve(
    model: Model = None,
    site: Site = None,
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
    key: TlsKey = None,
    device: Device = "cpu",
) -> None:
    """Serve a model: a page to look at films with, and an API for programs.

    Open http://127.0.0.1:8000 when it runs. Nothing that is sent is stored. Stop it with Ctrl-C.
    """
    need("serve", what="serving")
    from cxrlens.serving.limits import Limits
    from cxrlens.serving.serve import serve

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
        site=site,
        hosts=hosts or (),
        origins=origins or (),
        certificate=certificate,
        key=key,
    )


def dicom_node(
    spool: Annotated[
        Path, typer.Option(metavar="DIR", help="Where films and results wait; kept over restarts.")
    ],
    allow: Annotated[
        str, typer.Option(metavar="AET[,AET...]", help="Who may send films, by AE title.")
    ],
    model: Model = None,
    site: Site = None,
    to: Annotated[
        str | None, typer.Option(metavar="AET@HOST:PORT", help="Send results by C-STORE.")
    ] = None,
    stow: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Send results by STOW-RS; a token goes into CXRLENS_DICOMWEB_TOKEN."
        ),
    ] = None,
    aet: Annotated[str, typer.Option(help="The node's own AE title.")] = "CXRLENS",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it listens.")] = 11112,
    host: Annotated[str, typer.Option(help="0.0.0.0 listens to other machines too.")] = "127.0.0.1",
    retry: Annotated[
        float, typer.Option(min=0.05, metavar="SECONDS", help="First wait; each is twice the last.")
    ] = 5.0,
    keep: Annotated[
        float, typer.Option(min=0, metavar="DAYS", help="How long receipts are kept.")
    ] = 30.0,
    reserve: Annotated[
        int, typer.Option(min=0, metavar="MB", help="Refuse films while less disk is free.")
    ] = 256,
    certificate: Annotated[
        Path | None,
        typer.Option("--tls-certificate", metavar="PEM", help="Speak TLS, in both directions."),
    ] = None,
    key: TlsKey = None,
    ca: TlsAuthority = None,
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay/--no-overlay", help="Send outlines that a viewer can lay over the film."
        ),
    ] = True,
    device: Device = "cpu",
) -> None:
    """Take films from a PACS and send a picture, a report and an overlay back into their study.

    CR and DX images come in by C-STORE; a Secondary Capture, a TID 1500 report and a GSPS overlay go out.
    See docs/pacs.md.
    """
    need("dicom", what="the DICOM node")
    if (to is None) == (stow is None):
        raise typer.BadParameter("say where results go, one of --to AET@host:port and --stow URL")
    from cxrlens.pacs.courier import Destination, StoreNode, StowServer
    from cxrlens.pacs.dicomweb import DicomWeb
    from cxrlens.pacs.node import Node, identify, open_log
    from cxrlens.pacs.receiver import checked_aet
    from cxrlens.pacs.spool import Spool
    from cxrlens.prediction.predictor import Predictor
    from cxrlens.runs import open_model
    from cxrlens.serving.tls import calling, listening

    tls = outwards = None
    if certificate and key:
        tls, outwards = listening(certificate, key, ca), calling(certificate, key, ca)
    elif certificate or key or ca:
        raise typer.BadParameter("TLS needs both files: --tls-certificate and --tls-key")
    destination: Destination = (
        StoreNode.parse(to, aet, outwards)
        if to
        else StowServer(DicomWeb.at(stow or "", certificate, key, ca))
    )
    allowed = [checked_aet(title) for title in allow.split(",")]
    saved = open_model(the_model(model))
    predictor = Predictor.of(saved, device, site=site)
    node = Node(
        Spool(spool, reserve * 2**20),
        predictor,
        identify(saved, predictor.trust),
        aet,
        allowed,
        destination,
        retry,
        keep,
        tls,
        overlay,
    )
    open_log()
    done(f"{aet} sends results to {destination.name}.\n{NOTICE}")
    if not node.run(host, port):
        raise typer.Exit(1)
