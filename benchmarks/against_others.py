"""Against what one would take instead: each side in its documented best form, the two in turn, in one process.

    python3 -m venv others && others/bin/pip install -r benchmarks/against_others.txt -e . ./models/evidence-lungs
    OMP_NUM_THREADS=1 others/bin/python -m benchmarks against_others [--films FOLDER] [--threads 1] [--only WORD]

Each pair does the same work on the same films with as many threads, five times after a first that does not
count. Speed is by processor time of all threads, which other work on the machine does not touch; the clock is
noted beside it. Networks: the model in the box by onnxruntime against the same backbone (EfficientNet-Lite0)
by PyTorch and timm in eager float32, the study's EfficientNetV2-B3 by Keras 3 on TensorFlow (compiled call)
and TorchXRayVision's DenseNet121, each at its own side. Their weights are drawn: they cost the same.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from cxrlens.phantoms import write_phantoms
from cxrlens.prediction import load
from cxrlens.quality.chain import Chain
from cxrlens.radiographs.grey import resize
from cxrlens.radiographs.read import find_films, read_radiograph
from record import keep_speed, kept, machine, markdown, middle, said, shared, stamp, timed

REPEATS = 5
REFERENCE, MASKS, FRESH = 5000, 1000, 1000
"""Of `lime`'s masks: those that judge, those it is held to, and those that nobody fits."""
Pair = tuple[str, str, Callable[[], object], Callable[[], object], int]
"""What is done, against what, ours, theirs, films of one call."""


def networks(films: list[np.ndarray], threads: int) -> Iterator[Pair]:
    import timm
    import torch

    torch.set_num_threads(threads)
    ours = load()
    side = ours.network.side

    def pixels(count: int, side: int) -> np.ndarray:
        return np.stack([resize(films[i % len(films)], side) for i in range(count)])

    lite0 = timm.create_model("tf_efficientnet_lite0", num_classes=3).eval()

    def by_timm(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return lite0(batch)

    import torchxrayvision

    dense = torchxrayvision.models.DenseNet(weights=None, num_classes=18).eval()

    def by_xrv(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return dense(batch)

    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    import keras

    b3 = keras.applications.EfficientNetV2B3(weights=None, classes=3)
    compiled = tensorflow.function(lambda batch: b3(batch, training=False), reduce_retracing=True)
    for count in (1, 32):
        mine = pixels(count, side)
        same = torch.from_numpy(np.repeat(mine[:, None], 3, 1).astype(np.float32) / 127.5 - 1)
        same = same.contiguous(memory_format=torch.channels_last)
        grey = torch.from_numpy(pixels(count, 224)[:, None].astype(np.float32) * 8 - 1024)
        large = tensorflow.constant(
            np.repeat(pixels(count, 300)[..., None], 3, 3).astype(np.float32)
        )
        run = lambda mine=mine: ours.network.run(mine)  # noqa: E731
        what = f"network, {'one film' if count == 1 else f'batch of {count}'}"
        yield what, "PyTorch eager + timm, same backbone", run, lambda x=same: by_timm(x), count
        yield what, "TorchXRayVision DenseNet121", run, lambda x=grey: by_xrv(x), count
        yield (
            what,
            "Keras 3 on TensorFlow, EfficientNetV2-B3",
            run,
            lambda x=large: compiled(x).numpy(),
            count,
        )


def quality(films: list[np.ndarray]) -> Iterator[Pair]:
    from quality_reference import detect

    # The reference has no gate: its network is measured by gate_measure.py.
    chain = Chain.named("robust")
    looking = Chain(chain.name, chain.side, chain.native, chain.square)
    yield (
        "quality chain",
        "the same detectors with scikit-image",
        lambda: [looking.check(film) for film in films],
        lambda: [detect(looking, film) for film in films],
        len(films),
    )


def as_good(films: list[np.ndarray]) -> tuple[int, dict[str, float], dict[str, float]]:
    """Find how many masks of ours do as well as `MASKS` of the package's, over some films.

    As well: the mean rank correlation with a reference of `REFERENCE` of its masks, and the mean R² on `FRESH`
    masks that nobody fitted, are both no lower.
    """
    from cxrlens.explanation.lime import REGIONS, lime, superpixels
    from lime_speed import Timed, ask_lime, fit_lime, held_out, rank

    predictor = load()
    model = Timed(predictor.probabilities)
    asked = []
    for film in films:
        told = predictor.predict(film)
        pixels = told.examination.pixels
        target = predictor.classes.index(told.suggests or told.predicted)
        segments = superpixels(pixels, REGIONS)
        data, answers, _ = ask_lime(pixels, segments, model, REFERENCE, 1000)
        reference = fit_lime(data, answers, target)[0]
        data, answers, _ = ask_lime(pixels, segments, model, FRESH, 3000)
        fresh = (data.astype(bool), answers[:, target])
        data, answers, _ = ask_lime(pixels, segments, model, MASKS, 2000)
        theirs = fit_lime(data, answers, target)[0]
        asked.append((pixels, segments, target, reference, fresh, theirs))

    def mean(weights: list[np.ndarray]) -> dict[str, float]:
        both = zip(weights, asked, strict=True)
        found = [(rank(one, of[3]), held_out(one, *of[4])) for one, of in both]
        return dict(zip(("rank", "r2_fresh"), np.mean(found, axis=0).tolist(), strict=True))

    goal = mean([of[5] for of in asked])
    for count in (100, 150, 200, 250, 300, 400, 500, 700, MASKS):
        reached = mean([
            lime(model, pixels, target, samples=count, segments=segments, seed=count, batch=32).weights
            for pixels, segments, target, *_ in asked
        ])  # fmt: skip
        print(count, reached, goal, flush=True)
        if all(reached[name] >= goal[name] for name in goal):
            break
    return count, reached, goal


def maps(films: list[np.ndarray]) -> Iterator[Pair]:
    import timm
    import torch
    from lime import lime_image
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from cxrlens.explanation.heatmap import normalised
    from cxrlens.explanation.lime import REGIONS, lime, superpixels
    from cxrlens.explanation.network_maps import gradcam
    from cxrlens.models.classifier import build_model
    from cxrlens.prediction.torch_network import TorchNetwork
    from cxrlens.recipes.recipe import Model

    ours = load()
    told = ours.predict(films[0])
    pixels = told.examination.pixels
    target = ours.classes.index(told.suggests or told.predicted)
    segments = superpixels(pixels, REGIONS)
    lite0 = timm.create_model("tf_efficientnet_lite0", num_classes=3).eval()
    batch = torch.from_numpy(np.repeat(pixels[None, None], 3, 1).astype(np.float32) / 127.5 - 1)
    drawn = Model(backbone="tf_efficientnet_lite0", weights="none")
    network = TorchNetwork([build_model(drawn, 3)], len(pixels))
    cam = GradCAM(lite0, [lite0.conv_head])
    yield (
        "Grad-CAM, same backbone",
        "`pytorch-grad-cam`",
        lambda: normalised(gradcam(network.slopes(pixels, 0, 1))),
        lambda: cam(batch, [ClassifierOutputTarget(1)]),
        1,
    )
    count, reached, goal = as_good(films[:2])
    grey = np.repeat(pixels[..., None], 3, 2)

    def by_lime() -> object:
        return lime_image.LimeImageExplainer(random_state=0).explain_instance(
            grey, lambda batch: ours.probabilities(batch[..., 0]), labels=(target,), top_labels=None,
            batch_size=32, num_samples=MASKS, segmentation_fn=lambda _: segments,
        )  # fmt: skip

    yield (
        f"LIME as good as `lime`'s: {count} masks (rank {reached['rank']:.3f}, R² {reached['r2_fresh']:.3f})",
        f"`lime`, {MASKS} masks (rank {goal['rank']:.3f}, R² {goal['r2_fresh']:.3f})",
        lambda: lime(
            ours.probabilities, pixels, target, samples=count, segments=segments, batch=32
        ),
        by_lime,
        1,
    )


def decoding(films: list[np.ndarray], place: Path) -> Iterator[Pair]:
    from pydicom import dcmread, uid
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.pixels import apply_voi_lut

    paths = []
    for number, film in enumerate(films[:8]):
        of = Dataset()
        of.file_meta = FileMetaDataset()
        of.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        of.SOPClassUID, of.SOPInstanceUID = uid.ComputedRadiographyImageStorage, uid.generate_uid()
        of.Modality, of.PhotometricInterpretation = "CR", "MONOCHROME2"
        large = cv2.resize(film, (1600, 2000)).astype(np.uint16) * 16
        of.Rows, of.Columns, of.SamplesPerPixel = *large.shape, 1
        of.BitsAllocated, of.BitsStored, of.HighBit, of.PixelRepresentation = 16, 12, 11, 0
        of.WindowCenter, of.WindowWidth = 2048, 4096
        of.PixelData = large.tobytes()
        paths.append(place / f"{number}.dcm")
        of.save_as(paths[-1], enforce_file_format=True)

    def by_pydicom() -> list[np.ndarray]:
        found = []
        for path in paths:
            film = dcmread(path)
            grey = apply_voi_lut(film.pixel_array, film)
            found.append(((grey - grey.min()) / np.ptp(grey) * 255).astype(np.uint8))
        return found

    yield (
        "DICOM of 12 bits, 3.2 megapixels, to 8-bit grey",
        "pydicom with its window",
        lambda: [read_radiograph(path) for path in paths],
        by_pydicom,
        len(paths),
    )


def cached(paths: list[Path], place: Path) -> Iterator[Pair]:
    from cxrlens.collections.cache import cache_films

    chain = Chain.named("none")
    names = [str(path) for path in paths]
    cache_films(names, chain, place / "cache")
    yield (
        "films again, out of the cache",
        "decode + resize with Pillow",
        lambda: cache_films(names, chain, place / "cache"),
        lambda: [by_pillow(path, chain.side) for path in paths],
        len(paths),
    )


def by_pillow(path: Path, side: int) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as film:
        return np.asarray(film.convert("L").resize((side, side), Image.Resampling.BILINEAR))


def measured(ours: Callable[[], object], theirs: Callable[[], object]) -> list[list[float]]:
    """Repeat the two in turn: processor and clock of ours, of theirs, in seconds."""
    rows = []
    for turn in range(REPEATS + 1):
        row = []
        for work in (ours, theirs):
            row += timed(work)
        if turn:
            rows.append(row)
    return rows


def write(found: dict[str, Any], films: int, told: str, threads: int) -> None:
    machines = list(dict.fromkeys(one["machine"] for one in found.values()))
    table = pd.DataFrame(
        {
            **dict(zip(("what", "against"), name.split(" | "), strict=True)),
            "ours, ms a film": said(one["ours_ms"], 2),
            "theirs, ms a film": said(one["theirs_ms"], 2),
            "times as fast": said(one["times"], 2),
            "by the clock": said(one["times_clock"], 2),
            "on": machines.index(one["machine"]) + 1,
        }
        for name, one in found.items()
    )
    text = (
        f"Written by `python -m benchmarks against_others` on {films} {told}, {threads} thread(s) on both sides, "
        f"{REPEATS} repeats in turn, median (least–most), milliseconds of processor time.\n\n{markdown(table)}\n\n"
        "LIME is held to the package's mean rank correlation with its own 5,000 masks and its mean R² on masks that nobody fitted, over two films.\n\n"
        f"On {'; '.join(f'{number}: {one}' for number, one in enumerate(machines, 1))}. "
        f"The last was shared with other work, {shared()}."
    )
    keep_speed("against_others", {"films": films, "pairs": found}, text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--films", type=Path, help="a folder of films")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="pairs whose name has this word")
    parser.add_argument(
        "--group", default="", help="one of quality, decoding, cached, maps, networks"
    )
    options = parser.parse_args()
    # Before anything starts its threads: both sides have as many.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    cv2.setNumThreads(options.threads)
    films_told = f"{'given films' if options.films else 'drawn films of 512 pixels'}"
    found: dict[str, Any] = kept("against_others").get("pairs", {})
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        of = options.films or write_phantoms(place / "set", 32, side=512).parent
        paths = find_films([of])[:32]
        films = [read_radiograph(path) for path in paths]
        groups = (quality(films), decoding(films, place), cached(paths, place), maps(films), networks(films, options.threads))  # fmt: skip
        for group in groups:
            if options.group and group.__name__ != options.group:
                continue
            for what, against, ours, theirs, count in group:
                if options.only not in f"{what} {against}":
                    continue
                rows = np.array(measured(ours, theirs)) * 1000 / count
                busy, clock, busy_theirs, clock_theirs = rows.T
                found[f"{what} | {against}"] = {
                    "ours_ms": middle(busy),
                    "theirs_ms": middle(busy_theirs),
                    "times": middle(busy_theirs / busy),
                    "times_clock": middle(clock_theirs / clock),
                    "machine": stamp(machine()),
                }
                print(what, against, found[f"{what} | {against}"], flush=True)
                # A run that is cut short leaves what it measured, and a later one adds to it.
                write(found, len(paths), films_told, options.threads)


if __name__ == "__main__":
    main()
