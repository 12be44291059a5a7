"""Whether time grows with the films and memory does not: collect, explore, cache, audit and predict on drawn sets.

    python -m benchmarks growth [--sizes 1000 5000 20000] [--side 64]

Each verb runs in a process of its own on sets of drawn, distinct films, small ones: what is asked is how time and
memory grow, not what a large film costs. Time is processor time of all threads and children, memory the peak of
any one process. Between two sizes stands what each further film cost; 100,000 films are reckoned from the last two.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cxrlens.phantoms import write_phantoms
from record import keep_speed, kept, machine, markdown, shared, stamp

CACHED = "import pandas, pathlib; from cxrlens.collections.cache import cache_films; from cxrlens.quality import Chain; \
cache_films([str(pathlib.Path('set') / i) for i in pandas.read_csv('set/films.csv')['image']], Chain.named('report'), pathlib.Path('cache'))"

VERBS: dict[str, list[str]] = {
    "collect": ["-m", "cxrlens", "collect", "csv", "set", "-o", "films.csv"],
    "explore": ["-m", "cxrlens", "explore", "films.csv", "-o", "overview.html"],
    "cache": ["-c", CACHED],
    "cache, again": ["-c", CACHED],
    "audit": ["-m", "cxrlens", "audit", "films.csv", "-o", "audit", "--fail-on", "never"],
    "predict": ["-m", "cxrlens", "predict", "set/images", "--csv", "predictions.csv"],
}
FAR = 100_000


def run(arguments: Sequence[str], folder: Path) -> dict[str, float]:
    """Run Python in a folder: processor seconds and peak of memory in MB."""
    child = os.fork()
    if not child:
        silent = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        os.chdir(folder)
        os.environ["CXRLENS_CACHE"] = str(folder / "cache")
        os.execv(sys.executable, [sys.executable, *arguments])
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit((folder / "log").read_text()[-3000:])
    return {"seconds": used.ru_utime + used.ru_stime, "megabytes": used.ru_maxrss / 1024}


def table(found: dict[str, dict[str, dict[str, float]]]) -> pd.DataFrame:
    sizes = sorted(map(int, found))
    rows = []
    for verb in VERBS:
        there = [(size, found[str(size)][verb]) for size in sizes if verb in found[str(size)]]
        if len(there) < 2:
            continue
        slopes = [
            1000 * (b["seconds"] - a["seconds"]) / (more - few)
            for (few, a), (more, b) in itertools.pairwise(there)
        ]
        size, last = there[-1]
        before, less = there[-2]
        grown = (last["megabytes"] - less["megabytes"]) / (size - before)
        rows.append(
            {
                "verb": verb,
                "films": ", ".join(f"{size:,}" for size, _ in there),
                "processor, s": ", ".join(f"{one['seconds']:.1f}" for _, one in there),
                "ms a further film": ", ".join(f"{slope:.2f}" for slope in slopes),
                "peak memory, MB": ", ".join(f"{one['megabytes']:.0f}" for _, one in there),
                f"{FAR:,} films": f"{(last['seconds'] + slopes[-1] * (FAR - size) / 1000) / 60:.0f} min, "
                f"{(last['megabytes'] + grown * (FAR - size)) / 1024:.1f} GB",
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 20_000])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--verbs", nargs="+", choices=list(VERBS), default=list(VERBS))
    options = parser.parse_args()
    # Idle threads of linear algebra wait by spinning, which on a shared machine would count as work.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    found: dict[str, dict[str, dict[str, float]]] = kept("growth").get("sizes", {})
    for size in sorted(options.sizes):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            write_phantoms(folder / "set", size, side=options.side)
            if "collect" not in options.verbs:
                run(VERBS["collect"], folder)
            for verb in options.verbs:
                found.setdefault(str(size), {})[verb] = run(VERBS[verb], folder)
                print(size, verb, found[str(size)][verb], flush=True)
                text = (
                    f"Written by `python -m benchmarks growth`: drawn films of {options.side} pixels, processor time of "
                    "all threads (one of linear algebra), peak memory of one process. "
                    "The last column is reckoned from the last two sizes; audit, which holds every film against every other, "
                    f"will take longer than that.\n\n{markdown(table(found))}\n\n"
                    f"{stamp(machine())}; {shared()}."
                )
                keep_speed("growth", {"side": options.side, "sizes": found}, text)


if __name__ == "__main__":
    main()
