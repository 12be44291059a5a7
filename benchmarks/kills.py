"""Work that is killed at a random moment and taken up again: whether it ends as if nothing had happened.

    python benchmarks/kills.py [--kills 100] [--trainings 20] [--minutes M] [--seed 0] [--only JOB ...]

Building a cache, taking films through the node's spool, exporting, predicting into a table, training, and training
folds, each on tiny drawn films. A job runs in a process of its own, which gets SIGKILL at a random moment of its
life; half of those that take it up are killed too; the last one lives. Then what lies there must be what a job that
was let alone leaves, byte for byte, and nothing else: no drafts, no parts. Where the job was to replace something
of the user's (an older bundle, an older table), the old or the new must be there whenever the next process begins.
Left out of the comparison is what says when or how long (`TIMES`), and lock files, which stay by design.
Processes are forks of one that has loaded everything, so that a kill costs a second and hits the work itself.
Writes results/kills.json and .md; with --only, the rows of these jobs anew. --minutes bounds each job.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import pandas as pd
import torch

import cxrlens.export
import cxrlens.training.fit  # noqa: F401 - loaded before the forks
from cxrlens.collections import cache as film_cache
from cxrlens.collections.collection import read_collection
from cxrlens.collections.combine import split
from cxrlens.export.bundle import export
from cxrlens.files import write_text
from cxrlens.main_job import go_on, train
from cxrlens.pacs.spool import Spool, key_of
from cxrlens.phantoms import write_phantoms
from cxrlens.prediction.predictor import load
from cxrlens.prediction.table import predict_films
from cxrlens.quality import Chain
from record import RESULTS, keep, kept, machine, markdown, stamp

TIMES = {
    "report.html": re.compile(rb"(>Time<.{0,40}?>)[0-9.]+ (?:s|min|h)", re.DOTALL),
}
"""What a run took; `history.csv` has it in a column, `seconds`."""

TINY = (
    *("side=64", "model.blocks=[4]", "model.width=4", "training.max_epochs=3"),
    *("training.batch=8", "training.precision=float32"),
)
FILMS = 8

Job = Callable[[Path, Path], None]


def build_cache(given: Path, place: Path) -> None:
    """Bring films into a cache, and let it count every four films."""
    film_cache._CHUNK = 4
    images = sorted(map(str, (given / "set" / "images").iterdir()))
    film_cache.cache_films(images, Chain.named("report", side=64), place / "cache", workers=1)


def live_in_spool(given: Path, place: Path) -> None:
    """Send films until they are acknowledged, make results, deliver them, as the node does."""
    (place / "server").mkdir(parents=True, exist_ok=True)
    (place / "acknowledged").mkdir(exist_ok=True)
    with contextlib.closing(Spool(place / "spool", reserve=0)) as spool:
        for number in range(FILMS):
            acknowledged = place / "acknowledged" / str(number)
            if not acknowledged.exists():
                spool.receive(key_of(f"1.2.{number}"), b"film %d" % number)
                acknowledged.touch()
        for film in spool.films(FILMS):
            if spool.has_results(film.stem):
                spool.drop(film.stem)
                continue
            results = {"1-capture.dcm": film.read_bytes(), "2-report.dcm": b"report"}
            spool.keep_results(film.stem, results, {"made": "then"})
        for parcel in spool.parcels():
            for result in spool.unsent(parcel):
                # A server keeps one instance a UID, however often it is sent.
                (place / "server" / f"{parcel.name} {result.name}").write_bytes(result.read_bytes())
                spool.sent(result)
            spool.delivered(parcel.name, {"to": "server"})


def export_bundle(given: Path, place: Path) -> None:
    """Export a run in the place of an older bundle."""
    export(given / "run", place / "bundle", force=True)


def predict_table(given: Path, place: Path) -> None:
    """Predict films into a table, or go on with it."""
    films = sorted((given / "set" / "images").iterdir())
    predict_films(load(given / "bundle"), films, place / "predictions.csv", resume=True)


def train_run(given: Path, place: Path, *more: str) -> None:
    """Train a run, or go on with it, as `train` and `train --resume` do."""
    run = place / "run"
    if run.exists():
        go_on(run, cache=given / "cache")
    else:
        films = read_collection(given / "split.csv")
        settings = (*TINY, *more)
        train("resnet-focal", films, run, settings=settings, cache=given / "cache")


def train_folds(given: Path, place: Path) -> None:
    """Train folds that vote, or go on with them."""
    train_run(given, place, "folds=2", "training.max_epochs=1")


JOBS: dict[str, Job] = {
    "cache": build_cache,
    "spool": live_in_spool,
    "export": export_bundle,
    "predict --resume": predict_table,
    "training": train_run,
    "folds": train_folds,
}
LONG = ("training", "folds")


def begin(job: Job, given: Path, place: Path, log: Path) -> int:
    """Start a job in a process of its own; give its number."""
    child = os.fork()
    if child:
        return child
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    code = 1
    try:
        job(given, place)
        code = 0
    except BaseException:  # noqa: BLE001 - told in the log
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(child: int, most: float | None = None) -> tuple[int, float]:
    """Wait for a process, kill it when it has had so many processor seconds; give its exit code and seconds.

    Processor time, since the clock's would hit a busy machine's waiting more than the work.
    """
    had = 0.0
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), had
        had = max(had, processor_seconds(child))
        if most is not None and had >= most:
            os.kill(child, signal.SIGKILL)
            most = None
        time.sleep(0.004)


def processor_seconds(process: int) -> float:
    """Give the processor time that the threads of a process have had."""
    nanoseconds = 0
    for task in Path(f"/proc/{process}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # a thread ends when it likes
            nanoseconds += int((task.read_text().split() or ["0"])[0])
    return nanoseconds / 1e9


def contents(place: Path) -> dict[str, str]:
    """Give every file that lies below a folder with the digest of what it says, times left out."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_file() and not path.name.endswith("lock"):
            found[name] = hashlib.sha256(timeless(path)).hexdigest()
        elif path.is_dir() and not any(path.iterdir()):
            found[name + "/"] = ""
    return found


def timeless(path: Path) -> bytes:
    """Read a file without what says when or how long."""
    data = path.read_bytes()
    if path.name == "history.csv":
        table = pd.read_csv(path)
        return table.drop(columns="seconds", errors="ignore").to_csv().encode()
    pattern = TIMES.get(path.name)
    return pattern.sub(rb"\1-", data) if pattern else data


@dataclass
class Found:
    """What came of a job's kills."""

    seconds: float = 0.0
    killed: int = 0
    killed_again: int = 0
    alike: int = 0
    faults: list[str] = field(default_factory=list)


def lose_nothing(
    job: str, place: Path, log: Path, old: dict[str, str], whole: dict[str, str]
) -> str:
    """Say what of the user's a kill lost, empty if nothing."""
    if job == "export":
        # Any later writing puts things right.
        ended(begin(lambda _, place: write_text(place / "another.txt", "x"), place, place, log))
        (place / "another.txt").unlink()
        there = {k: v for k, v in contents(place).items() if k.startswith("bundle/")}
        return "" if there in (old, whole) else f"neither old nor new bundle: {sorted(there)}"
    if job == "spool":
        for one in (place / "acknowledged").glob("*"):
            key = key_of(f"1.2.{one.name}")
            if not list((place / "spool").rglob(f"{key}*")):
                return f"film {one.name} was acknowledged and is lost"
    return ""


def kill(
    name: str, given: Path, folder: Path, count: int, random_: random.Random, until: float
) -> Found:
    """Kill a job again and again, and compare."""
    job, found = JOBS[name], Found()
    log = folder / "log"

    def fresh(place: Path) -> Path:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if name == "export":
            shutil.copytree(given / "bundle", place / "bundle")
        return place

    lives = []
    for number in range(3):
        place = fresh(folder / f"whole-{number}")
        code, seconds = ended(begin(job, given, place, log))
        if code:
            raise SystemExit(f"{name} does not run: {log.read_text()[-2000:]}")
        lives.append(seconds)
    whole = contents(folder / "whole-0")
    for number in (1, 2):
        if whole != contents(folder / f"whole-{number}"):
            other = contents(folder / f"whole-{number}")
            odd = [k for k in {**whole, **other} if whole.get(k) != other.get(k)]
            raise SystemExit(f"{name} differs without a kill: {odd}")
    old = contents(given / "bundle")
    old = {f"bundle/{key}": value for key, value in old.items()}
    found.seconds = round(sorted(lives)[1], 3)
    tries = 0
    while found.killed < count and time.monotonic() < until:
        tries += 1
        place = fresh(folder / "killed")
        log.write_bytes(b"")
        code, again = -signal.SIGKILL, 0
        while code == -signal.SIGKILL:
            lives_on = again and random_.random() < 0.5
            moment = None if lives_on else random_.uniform(0, 1) * found.seconds
            code, _ = ended(begin(job, given, place, log), moment)
            if code == -signal.SIGKILL:
                again += 1
                if lost := lose_nothing(name, place, log, old, whole):
                    found.faults.append(f"{tries}: {lost}")
        if not again:
            continue  # it ended before its moment came
        found.killed += 1
        found.killed_again += again > 1
        left = contents(place)
        odd = sorted(k for k in {**whole, **left} if whole.get(k) != left.get(k))
        if code:
            found.faults.append(f"{tries}: not taken up: {log.read_text()[-600:]}")
        elif odd:
            found.faults.append(f"{tries}: differs: {odd[:5]}")
        else:
            found.alike += 1
    return found


def prepare(given: Path) -> None:
    """Draw films, train the run that is exported, export the bundle that predicts; in a fork."""
    films = split(read_collection(write_phantoms(given / "set", 48, seed=3, side=64)), seed=1)
    films.write(given / "split.csv")
    train("resnet-focal", films, given / "run", settings=TINY, cache=given / "cache")
    export(given / "run", given / "bundle")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trainings", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--only", nargs="*", choices=list(JOBS))
    asked = parser.parse_args()
    # A fork has only the thread that forked.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        given = Path(scratch) / "given"
        given.mkdir()
        log = Path(scratch) / "log"
        if ended(begin(lambda given, place: prepare(given), given, given, log))[0]:
            raise SystemExit(log.read_text())
        for name in asked.only or JOBS:
            folder = Path(scratch) / name
            folder.mkdir()
            count = asked.trainings if name in LONG else asked.kills
            random_, until = random.Random(f"{asked.seed} {name}"), asked.minutes * 60
            found = kill(name, given, folder, count, random_, time.monotonic() + until)
            results[name] = vars(found)
            print(name, found, flush=True)
    before = kept("kills").get("jobs", {}) if asked.only else {}
    results = {name: {**before, **results}[name] for name in JOBS if name in {**before, **results}}
    keep("kills", {"seed": asked.seed, "left out": "times; lock files", "jobs": results})
    table = pd.DataFrame(
        [
            {
                "job": name,
                "one run, processor s": one["seconds"],
                "killed": one["killed"],
                "of these, more than once": one["killed_again"],
                "same bytes": one["alike"],
                "faults": len(one["faults"]),
            }
            for name, one in results.items()
        ]
    )
    text = f"{markdown(table)}\n\nSeed {asked.seed}. {stamp(machine())}\n"
    (RESULTS / "kills.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
