"""Verbs about the pixels of films: check, repair."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxrlens.cli.arguments import ChainName, Films, Force, OutFolder, films_in
from cxrlens.cli.say import done, end_with, stage

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_CHAIN = "robust"


def check(
    films: Films,
    csv: Annotated[Path, typer.Option(metavar="FILE", help="The findings table to write.")],
    chain: ChainName = DEFAULT_CHAIN,
    force: Force = False,
) -> None:
    """Say what is wrong with films: negative, underexposed, noisy, blurred, with a score each."""
    from cxrlens.quality.batch import check_films
    from cxrlens.quality.chain import Chain
    from cxrlens.writing import moved_into_place, refuse_existing

    refuse_existing(csv, force)
    found = films_in(films)
    with stage("check") as bar:
        findings, failures = check_films(found, Chain.named(chain), bar)
    with moved_into_place(csv) as draft:
        findings.to_csv(draft, index=False)
    done(f"{csv}: {_counts(findings)}", f"cxrlens repair {films[0]} -o repaired")
    end_with(failures)


def repair(
    films: Films,
    out: OutFolder,
    chain: ChainName = DEFAULT_CHAIN,
    side: Annotated[int, typer.Option(min=32, max=4096, help="Pixels of the square copies.")] = 224,
    force: Force = False,
) -> None:
    """Write repaired square copies of films into a folder, and findings.csv beside them."""
    from cxrlens.quality.batch import repair_films
    from cxrlens.quality.chain import Chain
    from cxrlens.writing import moved_into_place, refuse_existing

    table = out / "findings.csv"
    refuse_existing(table, force)
    found = films_in(films)
    with stage("repair") as bar:
        findings, failures = repair_films(found, Chain.named(chain, side), out, force, bar)
    with moved_into_place(table) as draft:
        findings.to_csv(draft, index=False)
    done(
        f"{out}: {_counts(findings)}; what was found and done is in {table}",
        f"look at the copies, then cxrlens predict {out} --model MODEL --csv predictions.csv",
    )
    end_with(failures)


def _counts(findings: "pd.DataFrame") -> str:
    defects = [name for name in findings if f"{name}_score" in findings]
    found = ", ".join(f"{int(findings[name].sum())} {name}" for name in defects)
    return f"{len(findings)} films ({found})" if len(findings) else "no film"
