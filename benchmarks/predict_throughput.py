"""Whether predicting a folder uses the machine up: `predict` against its two parts, each on one core.

    python -m benchmarks predict_throughput [--films FOLDER] [--count 64] [--rounds 5]

The model in the box answers films of a folder, or drawn ones of 512 pixels. In each round, one after the
other: decode and quality chain on one thread, the network on one thread, and `predict_films` into a table on
as many as there are. Films a second are by the clock, and ratios are within a round; processor time, of all
threads together, does not see what else the machine does. `cxrlens --help` is started anew each time.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlens.phantoms import write_phantoms
from cxrlens.prediction import Predictor, load
from cxrlens.prediction.table import predict_films
from cxrlens.radiographs.read import find_films, read_radiograph
from record import keep_speed, machine, markdown, middle, said, shared, stamp, timed

BATCH = 32
STARTS = 9


def with_one_thread() -> Predictor:
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    predictor = load()
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before
    return predictor


def starts() -> dict[str, dict[str, float]]:
    clock, busy = [], []
    for _ in range(STARTS + 1):
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "cxrlens", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        clock.append(time.perf_counter() - began)
        busy.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"clock": middle(clock[1:]), "processor": middle(busy[1:])}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--films", type=Path, help="a folder of films")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    one, whole = with_one_thread(), load()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        of = options.films or write_phantoms(place / "set", options.count, side=512).parent
        films = find_films([of])
        films = [films[i] for i in np.linspace(0, len(films) - 1, options.count).astype(int)]
        pixels = np.stack([one.chain.examine(read_radiograph(film)).pixels for film in films])
        parts: dict[str, Callable[[], object]] = {
            "decode + chain, one thread": lambda: [
                one.chain.examine(read_radiograph(film)) for film in films
            ],
            "network, one thread": lambda: [
                one.network.run(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)
            ],
            "predict": lambda: predict_films(whole, films, place / "table.csv", force=True),
        }
        for work in parts.values():
            work()
        rounds = [
            {name: timed(work) for name, work in parts.items()} for _ in range(options.rounds)
        ]
    count = len(films)
    rates = {name: middle([count / one[name][1] for one in rounds]) for name in parts}
    busy = {name: middle([1000 * one[name][0] / count for one in rounds]) for name in parts}
    had = {name: middle([one[name][0] / one[name][1] for one in rounds]) for name in parts}
    cores = len(os.sched_getaffinity(0))
    read, network, predict = parts
    slower = max(busy[read]["median"], busy[network]["median"])
    million = 1e6 * busy[predict]["median"] / 3.6e6
    free = cores * slower / busy[predict]["median"]
    goal = middle([max(one[read][1], one[network][1]) / one[predict][1] for one in rounds])
    apart = middle([sum(one[n][0] for n in (read, network)) / one[predict][0] for one in rounds])
    said_help = starts()
    table = pd.DataFrame(
        {
            "what": name,
            "films/s": said(rates[name]),
            "processor, ms a film": said(busy[name]),
            "processors had": said(had[name], 2),
        }
        for name in parts
    )
    content = {
        "films": count,
        "drawn": options.films is None,
        "rates": rates,
        "processor_ms": busy,
        "processors_had": had,
        "by_processor_time": free,
        "against_slower_part": goal,
        "parts_against_whole": apart,
        "help_s": said_help,
    }
    text = (
        f"Written by `python -m benchmarks predict_throughput`: {count} "
        f"{'given films' if options.films else 'drawn films of 512 pixels'}, the model in the box, "
        f"{options.rounds} rounds, median (least–most).\n\n{markdown(table)}\n\n"
        f"`predict` takes {said(goal, 2)} times the films that the slower part alone takes on one core (goal: at "
        f"least 0.9), where it has the processors: the last column says how many of {cores} the machine left. By "
        f"processor time alone, all {cores} of them free, it is {free:.2f} at most. The parts' processor time is {said(apart, 2)} of the whole's: the rest is what putting them "
        f"together costs. A million such films take {million:.1f} hours of one processor, so "
        f"that many divided by the processors of a cluster, before what the cluster itself and the way to the "
        f"films cost, which is not measured here. `cxrlens --help` takes {said(said_help['processor'], 2)} s of processor time, "
        f"{said(said_help['clock'], 2)} s by the clock.\n\n{stamp(machine())}; {shared()}."
    )
    keep_speed("predict_throughput", content, text)
    print(text)


if __name__ == "__main__":
    main()
