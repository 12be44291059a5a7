"""The verb explore: one page about a collection."""

from cxrlens.cli.arguments import ChainName, Force, OutFile, Seed, Table
from cxrlens.cli.say import done, end_with, stage


def explore(
    films: Table,
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
    from cxrlens.collections.overview import write_overview

    collection = read_collection(films)
    with stage("look at films") as bar:
        found = write_overview(collection, out, chain, seed, force, bar)
    twice = "".join(f"\nNote: {sentence}" for sentence in found.twice)
    done(f"{out}: {len(collection)} films{twice}", f"open {out} in a browser")
    end_with(found.failures)
