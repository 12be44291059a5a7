"""Whether a change of the house changed its answers: record them before, record them after, compare.

    python benchmarks/same_answers.py record OUT [--demo]      with the cxrlens that is to be recorded
    python benchmarks/same_answers.py compare BEFORE AFTER     writes results/same_answers.json and .md

What is recorded of drawn films: a run's history, metrics and predictions (with --demo those of the whole demo,
else of a small residual network), the server's answers with the map of each method, the table that `predict`
writes, a bundle's table where PyTorch cannot be imported, and what a real Orthanc gets back for films that it
sends by C-STORE. `compare` lists every value that differs, but for digests, what derives from them, times,
and columns that one side lacks; numbers must be equal to the last bit, pictures to the last pixel.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pydicom

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.pacs.dicom_film import film_bytes
from tests.pacs.orthanc import Orthanc, free_port, until

from cxrlens.collections.collection import read_collection
from cxrlens.collections.combine import split
from cxrlens.main_job import demo, train
from cxrlens.phantoms import write_phantoms

SMALL = (
    *("side=64", "model.blocks=[16]", "model.width=16", "training.max_epochs=3"),
    *("training.batch=8", "training.learning_rate_high=0.01", "training.precision=float32"),
)
NOT_OF_THE_ANSWER = re.compile(
    r"digest|sha256|version|seconds|uid|date|time|made|serial|films_per_second|path|threads|"
    r"methods|slow|explanations|predicted/\d|python|calibrated"
)
"""Parts of a value's name that say it is none of the answer, or may be new."""


EXPLAINED = {
    r"points/\d/(sensitivity|specificity)/interval: .* became None": "what a threshold was chosen to give "
    "has no interval any more: each resample chose its own threshold to give it",
    r"(\d\.\d{12})\d* became -?\1": "the last digits: one softmax, and sums in another order",
    r"(lime|inverted-occlusion)/(note|png)": "a map that changes nothing of the score says so and stays pale",
    "disease_scores": "renamed `scores`, and filled for every model",
    r"Comment|Tracking Identifier|Algorithm Parameters": "the coded report also has the regions of the map, "
    "and scores in its comment",
    r"SR$": "not waited for: with the overlay a study gets three objects, and the record ends with the sixth",
}
"""Differences that were meant since the evidence map came (89c1377), by a pattern of their line."""


def record(out: Path, whole_demo: bool) -> None:
    """Let the installed cxrlens answer, and keep what it said."""
    out.mkdir(parents=True)
    answers: dict[str, Any] = {}
    if whole_demo:
        run = demo(out / "work", progress=_say).run.path
        films = out / "work" / "films"
    else:
        films = write_phantoms(out / "work" / "films", 60, seed=2, side=128).parent
        collection = split(read_collection(films / "films.csv"), seed=1)
        cache = out / "work" / "cache"
        run = train(
            "resnet-focal", collection, out / "work" / "run", settings=SMALL, cache=cache
        ).path
    answers["run"] = {
        "metrics": json.loads((run / "metrics.json").read_text()),
        "history": pd.read_csv(run / "history.csv").to_dict("list"),
        **{name: _table(run / f"predictions-{name}.csv") for name in ("validation", "test")},
    }
    some = sorted((films / "images").iterdir())[:12]
    _call("export", run, "-o", out / "work" / "bundle")
    for name, model in (("run", run), ("bundle", out / "work" / "bundle")):
        table = out / "work" / f"{name}.csv"
        _verb("predict", model, *some, "--csv", table, without_torch=name == "bundle")
        answers[f"predict with the {name}"] = _table(table)
        answers[f"server with the {name}"] = _server(model, some[:3])
    answers["PACS"] = _pacs(run, out / "work")
    (out / "answers.json").write_text(json.dumps(answers, indent=1, default=str))


def _say(stage: str, done: int, of: int) -> None:
    if done == of:
        print(stage, flush=True)


def _call(*words: object, without_torch: bool = False) -> None:
    code = "from cxrlens.cli import main; main()"
    if without_torch:
        code = f"import sys; sys.modules['torch'] = None; sys.modules['timm'] = None; {code}"
    subprocess.run([sys.executable, "-c", code, *map(str, words)], check=True)


def _takes_model() -> bool:
    """Tell whether models are named by --model, as they are since the first change that this measured."""
    said = subprocess.run(
        [sys.executable, "-m", "cxrlens", "predict", "--help"], capture_output=True, text=True
    )
    return "--model" in said.stdout


def _words(verb: str, model: Path, *rest: object) -> list[object]:
    return [verb, *rest, "--model", model] if _takes_model() else [verb, model, *rest]


def _verb(verb: str, model: Path, *rest: object, without_torch: bool = False) -> None:
    _call(*_words(verb, model, *rest), without_torch=without_torch)


def _table(path: Path) -> dict[str, list[Any]]:
    table = pd.read_csv(path)
    table["image"] = [Path(image).name for image in table["image"]]
    return table.sort_values("image").to_dict("list")


def _server(model: Path, films: list[Path]) -> dict[str, Any]:
    words = _words("serve", model, "--port", "0")
    process = subprocess.Popen(
        [sys.executable, "-m", "cxrlens", *map(str, words)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        address = next(
            found.group(0)
            for line in process.stderr
            if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
        )
        answers: dict[str, Any] = {}
        with httpx.Client(base_url=address, timeout=120) as client:
            answers["model"] = client.get("/model").json()
            for film in films:
                data = {"film": (film.name, film.read_bytes())}
                answers[film.name] = client.post("/predict?seen=true", files=data).json()["films"]
                for method in ("gradcam", "occlusion", "inverted-occlusion", "lime"):
                    form = {"method": method, "target": "pneumonia"}
                    answer = client.post("/explain", files=data, data=form)
                    if answer.status_code == 202:
                        job = answer.headers["location"]
                        until(lambda job=job: client.get(job).json()["status"] == "done", 120)
                        answer = client.get(f"{job}/result")
                    answers[f"{film.name} {method}"] = answer.json()
            page = client.get("/").text
            answers["page's files"] = sorted(re.findall(r'src="([^"]+)"', page))
    finally:
        process.terminate()
        process.wait(30)
    return answers


def _pacs(model: Path, folder: Path) -> dict[str, Any]:
    port = free_port()
    with Orthanc(folder / "orthanc", port) as orthanc:
        words = _words(
            *("dicom-node", model, "--spool", folder / "spool", "--allow", "ORTHANC"),
            *("--port", port, "--to", f"ORTHANC@127.0.0.1:{orthanc.dicom}", "--retry", "0.2"),
        )
        with (folder / "node.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "cxrlens", *map(str, words)], stdout=log, stderr=log
            )
        try:
            until(lambda: "listening on" in (folder / "node.log").read_text(), 120)
            names = [orthanc.take(film_bytes(number, side=128)) for number in range(3)]
            orthanc.forward(*names)
            until(lambda: len(orthanc.results()) == 2 * len(names), 120)
            time.sleep(1)
            told = [_dicom(orthanc.file(one["id"])) for one in orthanc.results()]
        finally:
            process.terminate()
            process.wait(30)
    told.sort(key=lambda one: (one["study"], one["modality"]))
    return {f"{place}": one for place, one in enumerate(told)}


def _dicom(data: bytes) -> dict[str, Any]:
    """Take from a result what a reader sees: the picture, and the report's coded and numeric content."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    told: dict[str, Any] = {
        "study": str(dataset.StudyInstanceUID),
        "modality": str(dataset.Modality),
    }
    if "PixelData" in dataset:
        # The caption bears the digest: what lies below it is the picture.
        pixels = dataset.pixel_array
        told["picture"] = hashlib.sha256(np.ascontiguousarray(pixels[-600:]).tobytes()).hexdigest()
    for item in dataset.get("ContentSequence", []):
        _walk(item, told, "")
    return told


def _walk(item: Any, told: dict[str, Any], before: str) -> None:
    name = str(item.get("ConceptNameCodeSequence", [{}])[0].get("CodeMeaning", "item"))
    place = f"{before}/{name}"
    if "MeasuredValueSequence" in item:
        told[place] = str(item.MeasuredValueSequence[0].NumericValue)
    elif "ConceptCodeSequence" in item:
        told[place] = str(item.ConceptCodeSequence[0].CodeMeaning)
    elif "TextValue" in item:
        told[place] = str(item.TextValue)
    for inner in item.get("ContentSequence", []):
        _walk(inner, told, place)


def compare(before: Path, after: Path) -> list[str]:
    """List the values that both have and that differ."""
    one, other = (json.loads((folder / "answers.json").read_text()) for folder in (before, after))
    for answers in (one, other):  # a study may have got one more object, before the others
        answers["PACS"] = {f"{of['study']} {of['modality']}": of for of in answers["PACS"].values()}
    counted, apart, lost = [0], [], []
    _differ(one, other, "", counted, apart, lost)
    machine = f"{os.cpu_count()} cores"
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine,
        "compared": counted[0],
        "differ": apart,
        "gone": lost,
    }
    results = Path(__file__).parent / "results"
    (results / "same_answers.json").write_text(json.dumps(found, indent=1) + "\n")
    lines = [
        f"{counted[0]:,} values of both compared ({found['date']}, {machine}): "
        f"{len(apart)} differ, {len(lost)} are gone.",
        *(f"- {line}" for line in said_of([*apart, *lost])),
    ]
    (results / "same_answers.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return [*apart, *lost]


def said_of(differences: list[str]) -> list[str]:
    """Count differences that have an explanation, and list the first of the others."""
    whys = [
        next((EXPLAINED[p] for p in EXPLAINED if re.search(p, one)), None) for one in differences
    ]
    others = [one for one, why in zip(differences, whys, strict=True) if why is None]
    return [f"{whys.count(why)}: {why}" for why in dict.fromkeys(filter(None, whys))] + others[:40]


def _differ(
    one: Any, other: Any, place: str, counted: list[int], apart: list[str], lost: list[str]
) -> None:
    if NOT_OF_THE_ANSWER.search(place.lower().rpartition("/")[2]):
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for key, value in one.items():
            if key in other:
                _differ(value, other[key], f"{place}/{key}", counted, apart, lost)
            elif not NOT_OF_THE_ANSWER.search(key.lower()):
                lost.append(f"{place}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            _differ(a, b, f"{place}/{number}", counted, apart, lost)
    else:
        counted[0] += 1
        same = one == other or (one != one and other != other)
        if not same:
            apart.append(f"{place}: {str(one)[:60]} became {str(other)[:60]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    recording = verbs.add_parser("record")
    recording.add_argument("out", type=Path)
    recording.add_argument("--demo", action="store_true")
    comparing = verbs.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.verb == "record":
        record(given.out, given.demo)
    else:
        sys.exit(bool(compare(given.before, given.after)))
