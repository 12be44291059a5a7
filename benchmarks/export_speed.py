"""What an exported bundle costs and keeps: equality with its run, start, latency, and int8.

    python benchmarks/export_speed.py RUN --films FOLDER [--films FOLDER]

RUN is a finished run of `lite0-ffn`. Films are taken evenly from the folders; without any, drawn ones
stand in. A second model, EfficientNet-Lite0 at 224 pixels with its ImageNet weights and a drawn head,
is made on the way. Writes ``results/export.json`` and ``results/export.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

import record
from cxrlens.collections.collection import read_collection
from cxrlens.collections.combine import split
from cxrlens.errors import FilmError
from cxrlens.export.bundle import export
from cxrlens.phantoms import draw_phantom, write_phantoms
from cxrlens.prediction import Predictor
from cxrlens.prediction.networks import BundleNetwork
from cxrlens.radiographs.read import find_films, read_radiograph
from cxrlens.recipes.recipe import read_recipe
from cxrlens.runs.bundle import GRAPH
from cxrlens.runs.run import Run

LABELS = ("normal", "pneumonia", "tuberculosis")


def main() -> None:
    asked = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    asked.add_argument("run", type=Path)
    asked.add_argument("--films", type=Path, action="append", default=[])
    asked.add_argument("--count", type=int, default=1000)
    asked.add_argument("--starts", type=int, default=11)
    options = asked.parse_args()
    found: dict[str, Any] = {"load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        films = some_films(options.films, options.count)
        found["films"] = {"count": len(films), "drawn": not options.films}
        large = place / "film.png"
        cv2.imwrite(str(large), cv2.resize(films[0], (1024, 1024), interpolation=cv2.INTER_CUBIC))
        models = {"lite0 160": Run(options.run), "lite0 224": untrained(place / "run", 224)}
        for name, run in models.items():
            exported = export(run.path, place / f"{name} bundle")
            own, bundle = Predictor.load(run.path), Predictor.load(exported.path)
            assert own.chain.side == run.recipe.side
            pixels = np.stack([own.chain.examine(film).pixels for film in films])
            found[name] = {
                "megabytes": exported.bytes / 1e6,
                "equality": equality(own, bundle, pixels),
                "warm_ms": warm(bundle, large),
                "first": starts(exported.path, large, options.starts),
            }
            print(name, json.dumps(found[name], indent=1), flush=True)
        found["int8"] = int8(Run(options.run), place / "lite0 160 bundle", place / "int8.onnx")
        print(json.dumps(found["int8"], indent=1))
    found["load_after"] = os.getloadavg()[0]
    found["threads"] = os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))
    record.keep("export", found)
    write()


def some_films(folders: list[Path], count: int) -> list[NDArray[np.uint8]]:
    if not folders:
        return [draw_phantom(seed, LABELS[seed % 3]).film for seed in range(count)]
    paths = find_films(folders)
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, count).astype(int)]
    films = []
    for path in chosen:
        try:
            films.append(read_radiograph(path))
        except FilmError as error:
            print(error)
    return films


def untrained(place: Path, side: int) -> Run:
    """Make a run of the recipe at another side: ImageNet's weights, a head that was only drawn."""
    import torch
    from safetensors.torch import save_file

    from cxrlens.models.classifier import build_model

    recipe = read_recipe("lite0-ffn", [f"side={side}"])
    films = split(
        read_collection(write_phantoms(place.parent / "drawn", 12, seed=0, side=64)), seed=0
    )
    torch.manual_seed(0)
    model = build_model(recipe.model, 3)
    for parameter in model.head.parameters():
        parameter.data *= 4
    from cxrlens.quality.chain import Chain

    version = Chain.named(recipe.quality, side).version
    place.mkdir()
    run = Run.create(place, recipe, films, {"chain": version, "weights": model.backbone.origin})
    save_file(model.state_dict(), place / "weights.safetensors")
    return run


def equality(own: Predictor, bundle: Predictor, pixels: NDArray[np.uint8]) -> dict[str, float]:
    answers = [own.probabilities(pixels[i : i + 32]) for i in range(0, len(pixels), 32)]
    expected = np.concatenate(answers)
    found = {"spread": float(np.ptp(expected, axis=0).max())}
    for size in (1, 32):
        parts = [bundle.probabilities(pixels[i : i + size]) for i in range(0, len(pixels), size)]
        given = np.concatenate(parts)
        found[f"batch {size}"] = float(np.abs(given - expected).max())
        found[f"other answers at batch {size}"] = int((given.argmax(1) != expected.argmax(1)).sum())
    return found


def spread(times: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(times, [5, 50, 95])
    return {"median": float(middle), "p5": float(low), "p95": float(high), "min": float(min(times))}


def timed(work: Callable[[], object], times: int, before: int = 5) -> dict[str, float]:
    """Milliseconds by the clock, and of processor time in all threads, which other work does not touch."""
    clock, processor = [], []
    for _ in range(before + times):
        start, busy = time.perf_counter(), time.process_time()
        work()
        clock.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (time.process_time() - busy))
    return spread(clock[before:]) | {"processor": spread(processor[before:])["median"]}


def warm(bundle: Predictor, film: Path) -> dict[str, dict[str, float]]:
    """Milliseconds from a 1,024-pixel PNG file to its prediction, quality findings included."""
    pixels = read_radiograph(film)
    side = bundle.network.side
    one = np.zeros((1, side, side), np.uint8)
    return {
        "file to prediction": timed(lambda: bundle.predict(film), 40),
        "pixels to prediction": timed(lambda: bundle.predict(pixels), 40),
        "network alone": timed(lambda: bundle.network.run(one), 40),
    }


def starts(bundle: Path, film: Path, times: int) -> dict[str, Any]:
    """Seconds of a fresh `cxrlens predict FILM --model BUNDLE`: by the clock, and of processor time."""
    clock, work = [], []
    for _ in range(times + 1):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "cxrlens", "predict", film, "--model", bundle],
            check=True,
            capture_output=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        clock.append(time.perf_counter() - start)
        work.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"clock_s": spread(clock[1:]), "processor_s": spread(work[1:])}


def int8(run: Run, bundle: Path, path: Path) -> dict[str, Any]:
    """Quantise the graph (QDQ, per channel, calibrated on validation films) and measure it."""
    import onnxruntime
    from onnxruntime import quantization as onnx_int8
    from onnxruntime.quantization.shape_inference import quant_pre_process

    predictor = Predictor.load(bundle)
    films = run.collection().films
    drawn = films.sample(frac=1, random_state=0)
    chosen = {name: drawn[drawn["split"] == name] for name in ("validation", "test")}
    pixels, labels = {}, {}
    for name, count in (("validation", 200), ("test", 1000)):
        rows = chosen[name].head(count)
        read = [read_radiograph(image) for image in rows["image"]]
        pixels[name] = np.stack([predictor.chain.examine(film).pixels for film in read])
        labels[name] = rows["label"].to_numpy()

    class Films(onnx_int8.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(np.array_split(pixels["validation"], 25))

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"films": batch}

    ready = path.with_name("ready.onnx")
    quant_pre_process(bundle / GRAPH, ready)
    found: dict[str, Any] = {}
    network = predictor.network
    assert isinstance(network, BundleNetwork)
    found["float32"] = judged(predictor, pixels["test"], labels["test"])
    # Its entropy calibration, measured once, gave the same answers: 128 bins leave it no choice.
    onnx_int8.quantize_static(
        ready,
        path,
        Films(),
        quant_format=onnx_int8.QuantFormat.QDQ,
        per_channel=True,
        activation_type=onnx_int8.QuantType.QUInt8,
        weight_type=onnx_int8.QuantType.QInt8,
        calibrate_method=onnx_int8.CalibrationMethod.MinMax,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    network._session = onnxruntime.InferenceSession(path, options)
    found["int8"] = judged(predictor, pixels["test"], labels["test"])
    found["int8"]["megabytes"] = path.stat().st_size / 1e6
    return found


def judged(predictor: Predictor, pixels: NDArray[np.uint8], labels: NDArray[Any]) -> dict[str, Any]:
    parts = [predictor.probabilities(pixels[i : i + 32]) for i in range(0, len(pixels), 32)]
    given = np.concatenate(parts)
    named = np.array(predictor.classes)[given.argmax(1)]
    truth = np.array([list(predictor.classes).index(label) for label in labels])
    return {
        "accuracy": float((named == labels).mean()),
        "log_loss": float(-np.log(given[np.arange(len(truth)), truth].clip(1e-9)).mean()),
        "batch 1, ms": timed(lambda: predictor.network.run(pixels[:1]), 100),
        "batch 32, ms": timed(lambda: predictor.network.run(pixels[:32]), 10),
    }


def write() -> None:
    """Turn ``results/export.json`` into tables."""
    kept = record.kept("export")
    names = [name for name in kept if name.startswith("lite0")]
    same = pd.DataFrame(
        {
            "model": name,
            "size, MB": f"{kept[name]['megabytes']:.1f}",
            **{
                f"largest difference, batch {size}": f"{kept[name]['equality'][f'batch {size}']:.1e}"
                for size in (1, 32)
            },
            "other answers": kept[name]["equality"]["other answers at batch 32"],
        }
        for name in names
    )
    rows = []
    for name in names:
        first, quick = kept[name]["first"], kept[name]["warm_ms"]
        thousand = {key: 1000 * value for key, value in first["clock_s"].items()}
        thousand["processor"] = 1000 * first["processor_s"]["median"]
        for what, of in {"fresh process to first answer": thousand, **quick}.items():
            rows.append(
                {
                    "model": name,
                    "what": what,
                    "processor": f"{of['processor']:.0f}",
                    "clock, least": f"{of['min']:.0f}",
                    "clock, median": f"{of['median']:.0f}",
                    "5 to 95 %": f"{of['p5']:.0f} to {of['p95']:.0f}",
                }
            )
    small = pd.DataFrame(
        {
            "graph": name,
            "accuracy": f"{of['accuracy']:.4f}",
            "log loss": f"{of['log_loss']:.4f}",
            "network, batch 1: processor, ms": f"{of['batch 1, ms']['processor']:.1f}",
            "clock, least": f"{of['batch 1, ms']['min']:.1f}",
            "batch 32, a film: processor, ms": f"{of['batch 32, ms']['processor'] / 32:.1f}",
            "a film: clock, least": f"{of['batch 32, ms']['min'] / 32:.1f}",
        }
        for name, of in kept["int8"].items()
    )
    films = kept["films"]
    text = "\n\n".join(
        [
            "# Exported bundles",
            f"Over {films['count']:,} {'drawn films' if films['drawn'] else 'real films'}, against the run "
            "in float32 by PyTorch:",
            record.markdown(same),
            "A 1,024-pixel PNG, quality findings included, in milliseconds. Processor time is of all threads "
            "together; the clock also counts what the machine did for others:",
            record.markdown(pd.DataFrame(rows)),
            "int8 on 1,000 test films of the 160-pixel run:",
            record.markdown(small),
            f"{record.stamp(kept['machine'])}; {kept['threads']} threads; load average "
            f"{kept['load_before']:.1f} before, {kept['load_after']:.1f} after.",
        ]
    )
    (record.RESULTS / "export.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
