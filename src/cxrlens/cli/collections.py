"""Verbs about films: collect, explore, merge, pairs, split, check, repair."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxrlens.cli.terminal import (
    ChainName,
    Films,
    FilmsTable,
    Force,
    OutFile,
    OutFolder,
    Seed,
    complete_layout,
    done,
    end_with,
    films_in,
    stage,
)

if TYPE_CHECKING:
    import pandas as pd

    from cxrlens.collections.collection import Collection
    from cxrlens.collections.combine import Merged
    from cxrlens.collections.readers import Collected


Meanings = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="OURS=THEIRS",
        help="What the words of your table mean: label=Finding for a column, TB=tuberculosis for a "
        "label, covid= to leave films of a label out. May be said several times.",
    ),
]

_DECODED = 2000
"""Films that `split` decodes unasked to find copies; more take long, so the user says it."""


_WANTED = {
    "patient": "add it if you can, or films of one person may stand on both sides of a split",
    "source": "add it if they are of several places, or a place may be told in place of a disease",
}
"""Columns that a collection does without, and what is lost."""


def collect(
    layout: Annotated[
        str,
        typer.Argument(
            metavar="LAYOUT",
            autocompletion=complete_layout,
            help="kermany, nih, rsna, nlm, tbx11k, qatar, mendeley, dicom, folders, csv or report.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the films lie.")],
    out: OutFile,
    salt: Annotated[
        str | None,
        typer.Option(
            envvar="CXRLENS_SALT",
            help="dicom: secret that patients are hashed with, so that a patient gets the same hash in "
            "every table; without it one is drawn and forgotten.",
        ),
    ] = None,
    meanings: Meanings = None,
    force: Force = False,
) -> None:
    """Make a collection (a table of films) from a folder as it lies on disk.

    Your own films: `folders` (a folder a class: normal, pneumonia, tuberculosis), `csv` (a table with a
    column image), `dicom` (a tree of DICOM files: patient as a hash, view, age and sex from the tags; no
    labels), `report` (images/P00001_1.png and labels.csv).

    Public sets as they are downloaded: `kermany` (chest_xray), `nih` (ChestX-ray14), `rsna` (Pneumonia
    Detection Challenge), `nlm` (Montgomery, Shenzhen), `tbx11k`, `qatar` (TB Chest Radiography
    Database), `mendeley` (10.17632/8j2g3csprk). docs/datasets.md says where they are and on what terms.

    Boxes round findings (`tbx11k`, `rsna`) go to FILE with `-boxes.csv` at its end, lung masks (`nlm`) to
    `-lungs.csv`: `cxrlens train evidence-lite0` learns from them.
    """
    from cxrlens.collections.readers import collect_and_count
    from cxrlens.collections.tables import Words, nearly
    from cxrlens.files import refuse_existing

    refuse_existing(out, force)
    collected = collect_and_count(layout, folder, salt, Words.of(meanings) if meanings else None)
    collection = collected.collection
    drawn = _written(collected, out, force)
    copies = (
        "acquisition" in collection.films and collection.films["acquisition"].duplicated().any()
    )
    then = f"cxrlens pairs {out} -o clean.csv" if copies else f"cxrlens split {out} -o split.csv"
    if not collection.counts():
        then = f"cxrlens check {folder} --csv findings.csv, or give {out} a column label to train on it"
        if near := nearly("label", collection.films, maybe=True):
            then += f" (is it {near!r}? say --map {shlex.quote(f'label={near}')})"
    left = "".join(f"\nLeft out: {count} ({why})" for why, count in collected.left_out.items())
    lacks = {name: why for name, why in _WANTED.items() if name not in collection.films}
    note = "".join(f"\nNote: there is no column {name}: {why}" for name, why in lacks.items())
    done(f"{out}: {_counts(collection)}{left}{drawn}{note}", then, out)
    end_with(collection.missing)


def merge(
    films: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILMS.CSV...", help="Collections, as `cxrlens collect` makes them."
        ),
    ],
    out: OutFile,
    force: Force = False,
) -> None:
    """Merge several collections into one, keeping the source of every film.

    Refused are a patient id that two tables use under two sources (these may be two people) and a film
    that is in two tables. A film without a source gets its table's name. Known overlaps between public
    sets are told. Boxes and lung masks beside the tables (`-boxes.csv`, `-lungs.csv`) are merged alike.
    """
    from cxrlens.collections.combine import merge
    from cxrlens.files import refuse_existing

    refuse_existing(out, force)
    merged = merge(films)
    drawn = _written(merged, out, force)
    notes = "".join(f"\nNote: {note}" for note in merged.notes)
    then = f"cxrlens split {out} -o split.csv"
    done(f"{out}: {_counts(merged.collection)}{drawn}{notes}", then, out)
    end_with(merged.collection.missing)


def _written(found: "Collected | Merged", out: Path, force: bool) -> str:
    """Write a collection and, beside it, what is drawn on its films; say of the latter what was written."""
    from cxrlens.collections.collection import beside
    from cxrlens.files import STDOUT, refuse_existing

    drawn = {beside(out, "boxes"): found.boxes, beside(out, "lungs"): found.lungs}
    tables = {path: outlines for path, outlines in drawn.items() if outlines is not None}
    if out == STDOUT and tables:
        found.collection.write(out)
        return "\nWhat is drawn on them goes beside a file: name one with -o"
    for path in (out, *tables):
        refuse_existing(path, force)
    found.collection.write(out, force)
    for path, outlines in tables.items():
        outlines.write(path, force)
    return "".join(f"\n{path}: {len(outlines)} drawn on them" for path, outlines in tables.items())


def _counts(collection: "Collection") -> str:
    counts = ", ".join(f"{count} {label}" for label, count in collection.counts().items())
    return f"{len(collection)} films ({counts or 'no labels'})"


def pairs(
    films: FilmsTable,
    out: OutFile,
    rule: Annotated[
        Literal["robust", "report"],
        typer.Option(
            help="What tells the cleanest copy: robust (holds the copies against each other) or report "
            "(the smallest sum of the Laplacian of Gaussian; a blurred copy wins)."
        ),
    ] = "robust",
    force: Force = False,
) -> None:
    """Keep the cleanest copy of every exposure; list the films that left, with the reason.

    Copies share a value in the column `acquisition`. Nothing is deleted: FILE is a new table, and the
    films that left are in FILE with `-left` before its suffix.
    """
    from cxrlens.collections.collection import read_collection
    from cxrlens.collections.pairs import reduce_pairs
    from cxrlens.files import STDOUT, refuse_existing

    left_out = out.with_name(f"{out.stem}-left{out.suffix}")
    for path in (out, left_out):
        refuse_existing(path, force)
    collection = read_collection(films)
    then = f"cxrlens split {out} -o split.csv"
    if "acquisition" not in collection.films:
        collection.write(out, force)
        done(
            f"{out}: all {len(collection)} films; the table has no column 'acquisition', so no film is known "
            "to be a copy and nothing changed",
            then,
            out,
        )
        end_with(collection.missing)
        return
    with stage("compare copies") as bar:
        reduced = reduce_pairs(collection, rule, bar)
    reduced.kept.write(out, force)
    see = ""
    if len(reduced.left) and out != STDOUT:
        see = f", see {reduced.write_left(left_out, force)}"
        for ours, theirs in reduced.renamed.items():
            see += f"\nNote: your column {ours!r} is {theirs!r} there, since {ours!r} tells of the pair"
    done(f"{out}: {len(reduced.kept)} films; {len(reduced.left)} copies left{see}", then, out)
    end_with(reduced.failures)


def split(
    films: FilmsTable,
    out: OutFile,
    folds: Annotated[
        int, typer.Option(min=0, help="Also deal train and validation into folds.")
    ] = 0,
    seed: Seed = 0,
    pixels: Annotated[
        bool | None,
        typer.Option(
            "--pixels/--bytes",
            help="How films that are there twice are found: by their decoded pixels, copies that were saved "
            f"anew too, or by their files' bytes, which is quick (default: pixels up to {_DECODED} films).",
        ),
    ] = None,
    meanings: Meanings = None,
    force: Force = False,
) -> None:
    """Split films into train, validation and test (64/16/20): by patient, stratified by class and source.

    A film that is there twice is found by its content, and all its copies, with their patients, go into
    one split. A split that the table has is replaced, and its folds with it.
    """
    from cxrlens.collections.collection import read_collection
    from cxrlens.collections.combine import fold, split
    from cxrlens.collections.same_films import same_bytes, same_pixels, told
    from cxrlens.collections.tables import Words
    from cxrlens.files import refuse_existing

    refuse_existing(out, force)
    # Patients in two of its splits are what a table is brought here for.
    read = read_collection(films, Words.of(meanings) if meanings else None, shared_too=True)
    dealt = "fold" in read.films
    read = read.of(read.films.drop(columns=["split", "fold"], errors="ignore"))
    images = read.films["image"].tolist()
    if pixels is None:
        pixels = len(images) <= _DECODED
    if pixels:
        with stage("compare films") as bar:
            same = same_pixels(images, bar)
    else:
        same = same_bytes(images)
    collection = split(read, seed, same=same)
    if folds:
        collection = fold(collection, folds, seed, same)
    collection.write(out, force)
    counts = collection.films["split"].value_counts()
    shares = ", ".join(f"{counts.get(name, 0)} {name}" for name in ("train", "validation", "test"))
    if "patient" not in collection.films:
        shares += "; patients are unknown: each film counts as a patient of its own"
    notes = told(read.films, same)
    if not pixels:
        notes += ["films were compared by their bytes; --pixels finds copies saved anew too"]
    if dealt and not folds:
        notes += [
            "the table's folds were of another split and are left out; --folds makes new ones"
        ]
    lines = "".join(f"\nNote: {sentence}" for sentence in notes)
    done(f"{out}: {shares}{lines}", f"cxrlens train lite0-ffn {out} -o runs/lite0-ffn", out)
    end_with(collection.missing)


def explore(
    films: FilmsTable,
    out: OutFile,
    chain: ChainName = "robust",
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Write one page of what is in a collection: counts, sizes, intensities, defects, samples.

    Films that cannot be read are listed on the page, and the exit code is 1. Films that are there twice,
    by their pixels, are told.
    """
    from cxrlens.collections.collection import read_collection
    from cxrlens.reports.overview import write_overview

    collection = read_collection(films)
    with stage("look at films") as bar:
        found = write_overview(collection, out, chain, seed, force, bar)
    twice = "".join(f"\nNote: {sentence}" for sentence in found.twice)
    done(f"{out}: {len(collection)} films{twice}", f"open {out} in a browser", out)
    end_with(found.failures)


def check(
    films: Films,
    csv: Annotated[
        Path, typer.Option(metavar="FILE", help="The findings table to write; - prints it.")
    ],
    chain: ChainName = "robust",
    force: Force = False,
) -> None:
    """Say what is wrong with films, with a score for each defect.

    Looked for are: negative, underexposed, noisy, blurred, padded, patched, photographed, torn, burnt-in
    text, and what is no frontal chest. docs/quality.md says how well each is found.
    """
    from cxrlens.files import refuse_existing
    from cxrlens.quality.chain import Chain, check_films

    refuse_existing(csv, force)
    found = films_in(films)
    with stage("check") as bar:
        findings, failures = check_films(found, Chain.named(chain), bar)
    said = _written_findings(findings, csv)
    done(f"{csv}: {said}", f"cxrlens repair {films[0]} -o repaired", csv)
    end_with(failures)


def repair(
    films: Films,
    out: OutFolder,
    chain: ChainName = "robust",
    side: Annotated[int, typer.Option(min=32, max=4096, help="Pixels of the square copies.")] = 224,
    force: Force = False,
) -> None:
    """Write repaired square copies of films into a folder, and findings.csv beside them."""
    from cxrlens.files import refuse_existing
    from cxrlens.quality.chain import Chain, repair_films

    table = out / "findings.csv"
    refuse_existing(table, force)
    found = films_in(films)
    with stage("repair") as bar:
        findings, failures = repair_films(found, Chain.named(chain, side), out, force, bar)
    done(
        f"{out}: {_written_findings(findings, table)}; what was found and done is in {table}",
        f"look at the copies, then cxrlens predict {out} --csv predictions.csv",
    )
    end_with(failures)


def _written_findings(findings: "pd.DataFrame", path: Path) -> str:
    """Write a table of findings, or print it; say how many films have which."""
    from cxrlens.files import moved_into_place

    with moved_into_place(path) as draft:
        findings.to_csv(draft, index=False)
    defects = [name for name in findings if f"{name}_score" in findings]
    found = ", ".join(f"{int(findings[name].sum())} {name}" for name in defects)
    return f"{len(findings)} films ({found})" if len(findings) else "no film"
