"""The verb audit: whether what is measured on a collection can be believed."""

from typing import Annotated

import typer

from cxrlens.cli.arguments import Device, Force, Model, OutFolder, Seed, Table, refuse_model
from cxrlens.cli.say import done, end_with, err, escape, out, stages


def audit(
    films: Table,
    folder: OutFolder,
    model: Model = None,
    fail_on: Annotated[
        str,
        typer.Option(help="What exit code 1 stands for: serious findings, any note, or nothing."),
    ] = "serious",
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Ask whether figures on a collection can be believed: copies, leaks, shortcuts.

    DIR gets audit.html, audit.json and copies.csv. With --model it is asked, too, what the model still
    tells of films without lungs. Exit code 0: nothing serious; 1: something serious was found, or films
    could not be read; 2: wrong usage. --fail-on note also ends with 1 for notes, --fail-on never with 1
    for unreadable films only.
    """
    from cxrlens.audit import audit as audit_collection
    from cxrlens.audit.fills import network_lungs
    from cxrlens.collections.collection import read_collection
    from cxrlens.prediction import load
    from cxrlens.reports.audit import write_audit
    from cxrlens.writing import refuse_filled

    if fail_on not in ("serious", "note", "never"):
        raise typer.BadParameter("--fail-on is serious, note or never")
    refuse_model(films, "audit", "FILMS.CSV")
    refuse_filled(folder, force)
    collection = read_collection(films, shared_too=True)
    predictor = load(model, device) if model else None
    with stages() as bars:
        found = audit_collection(collection, network_lungs, predictor, seed, bars)
    found.write(folder, force)
    write_audit(folder / "audit.html", found, films.name, str(model or ""), force)
    for one in found.findings:
        (err if one.serious else out).print(
            f"{'serious' if one.serious else 'note'}: {escape(one.sentence)}"
        )
    serious = sum(one.serious for one in found.findings)
    said = f"{serious} serious findings" if serious else "nothing serious found"
    done(f"{folder}: {len(found.films)} films, {said}", f"open {folder / 'audit.html'}")
    end_with(found.films.failures)
    matters = len(found.findings) if fail_on == "note" else serious
    if matters and fail_on != "never":
        raise typer.Exit(1)
