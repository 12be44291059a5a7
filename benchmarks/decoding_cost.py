"""What it costs to decode compressed DICOM in processes apart, beside decoding it in our own.

Usage: python benchmarks/decoding_cost.py [--films 60] [--rounds 5]

Drawn films of 12 bits and 2 megapixels are read from a folder by threads, as `predict` and `check` do, with
the decoders apart and, for comparison, in this process; the two take turns. One film alone is read warm, and
once by a fresh program with its decoder not yet started.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from cxrlens.quality import Chain
from cxrlens.radiographs import decoding, dicom, read_radiograph
from cxrlens.radiographs.decoder_process import decode
from record import keep

SHAPE = (1600, 1280)
SYNTAXES = {
    "JPEG 2000": (
        uid.JPEG2000Lossless,
        lambda film: imagecodecs.jpeg2k_encode(film, codecformat="j2k", reversible=True, level=0, bitspersample=12),
    ),
    "JPEG-LS": (uid.JPEGLSLossless, imagecodecs.jpegls_encode),
    "JPEG Lossless": (uid.JPEGLosslessSV1, lambda film: imagecodecs.jpeg8_encode(film, lossless=True, predictor=1, bitspersample=12)),
}  # fmt: skip


def drawn(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : 1j * SHAPE[0], 0 : 1 : 1j * SHAPE[1]]
    film = 1800 + 900 * np.sin(5 * x + seed) * np.cos(4 * y) + rng.normal(0, 12, SHAPE)
    return np.clip(np.rint(film), 0, 4095).astype(np.uint16)


def written(pixels: np.ndarray, syntax: uid.UID, stream: bytes, path: Path) -> None:
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = syntax
    film.SOPClassUID, film.SOPInstanceUID = uid.ComputedRadiographyImageStorage, uid.generate_uid()
    film.Modality, film.PhotometricInterpretation = "CR", "MONOCHROME2"
    film.Rows, film.Columns, film.SamplesPerPixel = *pixels.shape, 1
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 12, 11, 0
    film.PixelData = encapsulate([stream])
    film["PixelData"].VR, film["PixelData"].is_undefined_length = "OB", True
    film.save_as(path, enforce_file_format=True)


def here(syntax: str, plugin: str, options: dict[str, Any], pixels: bytes, name: str) -> Any:
    return decode(syntax, plugin, options, pixels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    chain = Chain.named("robust")
    found: dict[str, dict[str, float | list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (syntax, encode) in SYNTAXES.items():
            paths = []
            for number in range(given.films):
                path = Path(folder, f"{syntax}-{number}.dcm")
                pixels = drawn(number % 6)
                written(pixels, syntax, bytes(encode(pixels)), path)
                paths.append(path)

            def folder_rate(paths: list[Path] = paths) -> float:
                start = time.perf_counter()
                with ThreadPoolExecutor() as pool:
                    list(pool.map(lambda one: chain.examine(read_radiograph(one)), paths))
                return len(paths) / (time.perf_counter() - start)

            def alone(path: Path = paths[0]) -> float:
                start = time.perf_counter()
                read_radiograph(path)
                return 1000 * (time.perf_counter() - start)

            rates: dict[str, list[float]] = {"apart": [], "here": []}
            single: dict[str, list[float]] = {"apart": [], "here": []}
            for _ in range(given.rounds):
                for where, how in (("apart", decoding.decode_apart), ("here", here)):
                    dicom.decode_apart = how  # type: ignore[attr-defined]
                    alone()
                    rates[where].append(folder_rate())
                    single[where] += [alone() for _ in range(9)]
            dicom.decode_apart = decoding.decode_apart  # type: ignore[attr-defined]
            program = (
                "import sys, time\nfrom cxrlens.radiographs import read_radiograph, dicom\n"
                "start = time.perf_counter()\nread_radiograph(sys.argv[1])\n"
                "cold = time.perf_counter() - start\nstart = time.perf_counter()\n"
                "read_radiograph(sys.argv[1])\nprint(1000 * (cold - time.perf_counter() + start))\n"
            )
            cold = [
                float(subprocess.run([sys.executable, "-c", program, paths[0]], check=True, capture_output=True, text=True).stdout)
                for _ in range(given.rounds)
            ]  # fmt: skip
            found[name] = {
                "films a second, apart": [round(rate, 2) for rate in rates["apart"]],
                "films a second, here": [round(rate, 2) for rate in rates["here"]],
                "throughput lost, %": round(100 * (1 - statistics.median(rates["apart"]) / statistics.median(rates["here"])), 1),
                "one film, apart, ms": round(statistics.median(single["apart"]), 1),
                "one film, here, ms": round(statistics.median(single["here"]), 1),
                "one film dearer by, ms": round(statistics.median(single["apart"]) - statistics.median(single["here"]), 1),
                "first film dearer by (the process starts), ms": [round(ms) for ms in cold],
            }  # fmt: skip
            print(name, found[name], flush=True)
    keep("decoding_cost", {"films": given.films, "pixels": SHAPE, "found": found})


if __name__ == "__main__":
    main()
