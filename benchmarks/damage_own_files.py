"""Damage every kind of file that cxrlens writes, and count what opening it ends in.

    python benchmarks/damage_own_files.py [--each 75] [--seed 0]      writes results/damage_own_files.json and .md

Of each kind a small one lies in ``tests/artefacts/first``. It is copied, damaged in one of `DAMAGES` by a seeded
draw, and opened the way the verbs open it. What counts: ``opened`` (the damage says something else that is valid,
or was worked round), ``told`` (one sentence, a `CxrlensError`), ``tracebacks`` (anything else), ``wrong`` (a cache
that gives other pixels than before), sentences that are longer than 2,000 letters, and the slowest.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import RESULTS, keep, machine, stamp

from cxrlens.collections.cache import cache_films
from cxrlens.collections.collection import read_collection
from cxrlens.errors import CxrlensError
from cxrlens.evaluation.card import card_of
from cxrlens.evaluation.comparison import read_entries
from cxrlens.evaluation.measured import read_metrics
from cxrlens.files import write_text
from cxrlens.pacs.node import CrashCounts
from cxrlens.pacs.spool import Spool
from cxrlens.prediction.predictor import Predictor
from cxrlens.prediction.table import predict_films
from cxrlens.quality.chain import Chain
from cxrlens.recipes.recipe import read_recipe
from cxrlens.runs import open_model
from cxrlens.runs.bundle import manifest_digest
from cxrlens.runs.run import Run
from cxrlens.runs.saved import read_weights

FIRST = Path(__file__).parents[1] / "tests" / "artefacts" / "first"

Draw = np.random.Generator
Damage = Callable[[bytes, Draw], bytes]
Open = Callable[[Path], object]


def _flipped(data: bytes, draw: Draw) -> bytes:
    found = bytearray(data)
    for place in draw.integers(0, max(len(data), 1), int(draw.integers(1, 9))):
        if found:
            found[place] ^= 1 << int(draw.integers(0, 8))
    return bytes(found)


def _cut(data: bytes, draw: Draw) -> bytes:
    return data[: int(draw.integers(0, max(len(data), 1)))]


def _gap(data: bytes, draw: Draw) -> bytes:
    start = int(draw.integers(0, max(len(data), 1)))
    return data[:start] + data[start + int(draw.integers(1, 200)) :]


def _inserted(data: bytes, draw: Draw) -> bytes:
    place = int(draw.integers(0, len(data) + 1))
    odd = [
        b"\0",
        b"\xff\xfe",
        b"\x1b[2J",
        "\u202e".encode(),
        b'"',
        b",",
        b"\n",
        b"{",
        b"-",
        b"*a &a",
    ]
    return data[:place] + odd[int(draw.integers(len(odd)))] + data[place:]


def _words(data: bytes) -> list[tuple[int, int]]:
    """Find where values stand in JSON, YAML and CSV."""
    found, start = [], -1
    for place, byte in enumerate(data):
        of_word = byte not in b' ,:\n{}[]"'
        if of_word and start < 0:
            start = place
        elif not of_word and start >= 0:
            found.append((start, place))
            start = -1
    return found


def _exchanged(data: bytes, draw: Draw) -> bytes:
    """Put a value of another type in the place of one."""
    words = _words(data)
    if not words:
        return _flipped(data, draw)
    start, end = words[int(draw.integers(len(words)))]
    others = [
        *(
            b"null",
            b"[]",
            b"{}",
            b"-1",
            b"true",
            b'"x"',
            b"NaN",
            b"1e999",
            b"Infinity",
            b"2001-99-99",
        ),
        *(
            b"9" * 5000,
            b"0x" + b"f" * 5000,
            b"[" * 2000,
            b'{"a":' * 2000,
            b"",
            b"x" * 300,
            b"\xc3\x28",
        ),
        *(b"../../etc/passwd", b"1" * 30, b'"\\ud800"', b"\\u0000"),
    ]
    return data[:start] + others[int(draw.integers(len(others)))] + data[end:]


def _swapped(data: bytes, draw: Draw) -> bytes:
    words = _words(data)
    if len(words) < 2:
        return _flipped(data, draw)
    first, second = sorted(int(n) for n in draw.choice(len(words), 2, replace=False))
    (a, b), (c, d) = words[first], words[second]
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _other(data: bytes, draw: Draw) -> bytes:
    """Put something else in the file's place."""
    whole = [
        *(b"", b"[" * 20_000, b'{"a":' * 20_000, b"[]", b"{}", b"null", b"0", b"9" * 5000, b'"x"'),
        *(draw.bytes(2000), b"\0" * 2000, b"a,b\n1,2\n", b"PAR1" + draw.bytes(500) + b"PAR1"),
        *(b"x" * 2_000_000, b"- a\n" * 30_000, b"a: &a [x]\nb: [*a, *a]\n", b"SQLite format 3\0"),
    ]
    return whole[int(draw.integers(len(whole)))]


def _recoded(data: bytes, draw: Draw) -> bytes:
    coding = ("utf-16", "utf-16-be", "utf-32", "utf-8-sig", "cp500")[int(draw.integers(5))]
    return data.decode("latin-1").encode(coding)


DAMAGES: dict[str, Damage] = {
    "bits flipped": _flipped,
    "cut off": _cut,
    "a gap": _gap,
    "something inserted": _inserted,
    "another type": _exchanged,
    "values swapped": _swapped,
    "something else": _other,
    "recoded": _recoded,
}


def _run(run: Path) -> None:
    model = open_model(run)
    assert isinstance(model, Run)
    model.history(), model.skipped(), model.metrics(), card_of(model), model.digest
    model.learnt([run / "x.png"]), model.patients_learnt, model.chain()
    read_metrics(run / "metrics.json")
    read_weights(model.weights)
    for split in model.predicted:
        if (run / f"predictions-{split}.csv").is_file():
            model.predictions(split)
    for entry in read_entries([run], resamples=5):
        entry.made()


def _answer(model: Path) -> None:
    opened = open_model(model)
    predictor = Predictor.of(opened)
    card_of(opened), opened.learnt([model / "x.png"]), opened.recipe
    prediction = predictor.predict(FIRST / "films" / "images" / "P00001_1.png")
    if (model / "bundle.json").is_file():
        prediction.explain("gradcam")


def _table(model: Path) -> None:
    predictor = Predictor.load(FIRST / "ridge")
    film = FIRST / "films" / "images" / "P00001_1.png"
    predict_films(predictor, [film], model / "p.csv", resume=True)


def _progress(begun: Path) -> None:
    from cxrlens.training.module import SafetensorsCheckpoints

    run = Run(begun)
    run.history(), run.precision, run.collection()
    SafetensorsCheckpoints().load_checkpoint(begun / "progress" / "last.safetensors")


def _cache(cache: Path) -> None:
    images = sorted(str(path) for path in (FIRST / "films" / "images").iterdir())
    cached = cache_films(images, Chain.named("report", 32), cache)
    found = hashlib.sha256(cached.pixels[cached.rows].tobytes()).hexdigest()
    expected = _cache.__dict__.setdefault("expected", found)
    if found != expected:
        raise WrongError


class WrongError(Exception):
    """A cache gave other pixels."""


def _study(study: Path) -> None:
    from cxrlens.training import tuning

    class Idle:
        """No trial is trained here."""

        @staticmethod
        def train(*_: object, **__: object) -> None:
            raise CxrlensError("a trial would begin")

        resume = train

    recipe, films = read_recipe(study / "recipe.yaml"), read_collection(study / "collection.csv")
    with patch.object(tuning, "fit", Idle):
        tuning.tune(recipe, films, study, trials=1)


def _spool(spool: Path) -> None:
    with contextlib.closing(Spool(spool)) as opened:
        key = opened.parcels()[0].name
        opened.counts(), opened.receipt(key), opened.films(10)
        opened.delivered(key, {"sent": "now"})
        opened.receipt(key)
    crashes = CrashCounts(spool)
    crashes.suspects(), crashes.begin(["a"]), crashes.end(["a"])


def _resealed(path: Path) -> None:
    """Give a damaged manifest that is JSON a digest that fits, so that what it says is looked at."""
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(path.read_bytes())
        if isinstance(content, dict):
            content["digest"] = manifest_digest(content)
            path.write_text(json.dumps(content))


KINDS: dict[str, tuple[str, str, Open]] = {
    "versions.json": ("run", "versions.json", _run),
    "metrics.json": ("run", "metrics.json", _run),
    "history.csv": ("run", "history.csv", _run),
    "predictions-test.csv": ("run", "predictions-test.csv", _run),
    "predictions-validation.csv": ("run", "predictions-validation.csv", _run),
    "skipped.csv": ("run", "skipped.csv", _run),
    "recipe.yaml": ("run", "recipe.yaml", _run),
    "collection.csv": ("run", "collection.csv", _run),
    "weights.safetensors": ("ridge", "weights.safetensors", _answer),
    "recipe.yaml of a baseline": ("ridge", "recipe.yaml", _answer),
    "versions.json of a baseline": ("ridge", "versions.json", _answer),
    "bundle.json": ("bundle", "bundle.json", _answer),
    "bundle.json, sealed anew": ("bundle", "bundle.json", _answer),
    "card.json, sealed anew": ("bundle", "card.json", _answer),
    "learnt.json, sealed anew": ("bundle", "learnt.json", _answer),
    "heads.safetensors, sealed anew": ("bundle", "heads.safetensors", _answer),
    "model.onnx, sealed anew": ("bundle", "model.onnx", _answer),
    "table to be resumed": ("tables", "p.csv.part", _table),
    "collection.parquet": (
        "tables",
        "films.parquet",
        lambda at: read_collection(at / "films.parquet"),
    ),
    "index of the cache": ("cache", "report-f80277d814/index.jsonl", _cache),
    "training progress": ("begun", "progress/last.safetensors", _progress),
    "history of a run begun": ("begun", "history.csv", _progress),
    "study.db": ("study", "study.db", _study),
    "recipe.yaml of a study": ("study", "recipe.yaml", _study),
    "collection.csv of a study": ("study", "collection.csv", _study),
    "receipt": ("spool", "results/b68579d7efb5242fb1dd6d69/receipt.json", _spool),
    "films at work": ("spool", "at-work.json", _spool),
    "bad ends": ("spool", "bad-ends.json", _spool),
}
"""By name: the artefact, its file that is damaged, and what opens it."""


def artefacts(out: Path) -> Path:
    """Copy the artefacts, with those that the first layout lacks."""
    first = out / "first"
    shutil.copytree(FIRST, first)
    (first / "run" / "skipped.csv").write_text(
        "image,reason\na.png,it is empty\nb.png,it is torn\n"
    )
    (first / "spool" / "at-work.json").write_text('["b68579d7efb5242fb1dd6d69"]')
    (first / "spool" / "bad-ends.json").write_text('{"b68579d7efb5242fb1dd6d69": 2}')
    tables = first / "tables"
    tables.mkdir()
    predictor = Predictor.load(FIRST / "ridge")
    films = sorted((FIRST / "films" / "images").iterdir())[:6]
    predict_films(predictor, films, tables / "p.csv")
    os.replace(tables / "p.csv", tables / "p.csv.part")
    read_collection(FIRST / "films" / "films.csv").write(tables / "films.parquet")
    shutil.rmtree(first / "cache")
    _cache(first / "cache")
    with contextlib.suppress(ImportError):
        from cxrlens.training.module import SafetensorsCheckpoints

        last, files = first / "begun" / "progress" / "last.safetensors", SafetensorsCheckpoints()
        files.save_checkpoint(files.load_checkpoint(last), last)
    return first


@contextlib.contextmanager
def _copied(first: Path, artefact: str) -> Iterator[Path]:
    """Copy an artefact, as deep in the folders as it lay, so that its films stay where its tables say."""
    copy = first / f"try-{artefact}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(first / artefact, copy)
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def tries(first: Path, kinds: list[str], each: int, seed: int) -> Iterator[dict[str, Any]]:
    """Damage and open; one outcome a try.

    Parameters
    ----------
    first
        As `artefacts` gives it; every try has a copy of the one artefact that it damages.
    kinds
        Names of `KINDS`.
    each
        Tries a kind.
    seed
        The same seed draws the same damages.
    """
    names = list(DAMAGES)
    for kind in kinds:
        artefact, file, opened = KINDS[kind]
        with _copied(first, artefact) as copy:
            opened(copy)  # whole it must open, or nothing is tried here
        for number in range(each):
            draw = np.random.default_rng([seed, *kind.encode(), number])
            damage = names[number % len(names)]
            with _copied(first, artefact) as copy:
                place = copy / file
                place.write_bytes(DAMAGES[damage](place.read_bytes(), draw))
                if kind.endswith("sealed anew"):
                    _seal(copy, file)
                started = time.perf_counter()
                outcome: dict[str, Any] = {
                    "kind": kind,
                    "damage": damage,
                    "number": number,
                    "said": "",
                }
                try:
                    with contextlib.redirect_stderr(io.StringIO()):
                        opened(copy)
                    outcome["came to"] = "opened"
                except CxrlensError as error:
                    outcome |= {"came to": "told", "said": str(error)}
                except WrongError:
                    outcome["came to"] = "wrong"
                except Exception as error:  # noqa: BLE001  (what is counted here)
                    last = traceback.extract_tb(error.__traceback__)[-1]
                    outcome |= {
                        "came to": "traceback",
                        "said": f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: "
                        + str(error)[:300],
                        "trace": traceback.format_exc(),
                    }
            yield outcome | {"seconds": time.perf_counter() - started}


def _seal(bundle: Path, file: str) -> None:
    manifest = bundle / "bundle.json"
    if file != manifest.name:
        content = json.loads(manifest.read_bytes())
        content["files"][file] = hashlib.sha256((bundle / file).read_bytes()).hexdigest()
        manifest.write_text(json.dumps(content))
    _resealed(manifest)


def main() -> None:
    """Run it and write what came of it."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--each", type=int, default=75)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    told = asked.parse_args()
    if hasattr(os, "nice"):
        os.nice(10)
    rows = {kind: collections.Counter[str]() for kind in told.kinds}
    slowest: dict[str, float] = dict.fromkeys(told.kinds, 0.0)
    longest, faults = 0, []
    with tempfile.TemporaryDirectory() as work:
        for outcome in tries(artefacts(Path(work)), told.kinds, told.each, told.seed):
            kind = outcome["kind"]
            rows[kind][outcome["came to"]] += 1
            slowest[kind] = max(slowest[kind], outcome["seconds"])
            longest = max(longest, len(outcome["said"]))
            if len(outcome["said"]) > 2000:
                print(kind, outcome["damage"], outcome["said"][:500], file=sys.stderr)
            if outcome["came to"] in ("traceback", "wrong"):
                faults.append(outcome)
                print(kind, outcome["damage"], outcome["number"], outcome["said"], file=sys.stderr)
                print(outcome.get("trace", ""), file=sys.stderr)
    total = sum((counted for counted in rows.values()), collections.Counter[str]())
    tried = sum(total.values())
    print(f"{tried} tries: {dict(total)}; longest sentence {longest}")
    if told.kinds != list(KINDS):
        return
    content = {
        "each": told.each,
        "seed": told.seed,
        "tries": tried,
        "outcomes": dict(total),
        "longest_sentence": longest,
        "by_kind": {
            kind: {**rows[kind], "slowest_seconds": round(slowest[kind], 2)} for kind in rows
        },
        "faults": [{k: v for k, v in fault.items() if k != "trace"} for fault in faults],
    }
    keep("damage_own_files", content)
    head = "| file | opened | one sentence | traceback | wrong answer | slowest |\n|---|---|---|---|---|---|\n"
    lines = [
        f"| {kind} | {of['opened']} | {of['told']} | {of['traceback']} | {of['wrong']} "
        f"| {slowest[kind]:.2f} s |"
        for kind, of in rows.items()
    ]
    lines.append(
        f"| all {tried:,} | {total['opened']} | {total['told']} | {total['traceback']} | {total['wrong']} | |"
    )
    about = f"\nSeed {told.seed}, {told.each} damages a kind; {stamp(machine())}."
    write_text(RESULTS / "damage_own_files.md", head + "\n".join(lines) + "\n" + about + "\n")


if __name__ == "__main__":
    main()
