"""What the gate is fitted on and tested with: pictures that are no chest film, and altered films.

Parted by origin before anything was fitted. To fit: scikit-image's and matplotlib's pictures, drawings
of `gate_drawings.py`, films of the training sources turned, cut, merged. To test: the pictures of
scikit-learn, pydicom, and of packages' own test folders where a folder with them is given, drawings
that are in `quality_others.py`, films of the held-out sources turned and cut.

    pip download --no-deps --no-binary :all: pillow==9.5.0 ImageHash colorthief face-recognition pixelmatch
    pip download --no-deps --no-binary :all: pytesseract thumbor mahotas highdicom pynetdicom dicompyler-core
    pip download --no-deps pywavelets nibabel

unpacked into one folder, is what `--packages` takes.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from quality_others import drawn, to_calibrate

Film = NDArray[np.uint8]


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _levels(values: NDArray[np.generic]) -> Film:
    array = np.asarray(values, np.float32)
    low, high = np.percentile(array, [1, 99.5])
    return np.clip(255 * (array - low) / max(high - low, 1e-6), 0, 255).astype(np.uint8)


def _grey(path: Path) -> Film | None:
    try:
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        return None
    if picture is None or min(picture.shape) < 40 or max(picture.shape) > 5000:
        return None
    return np.asarray(picture, np.uint8)


def photographs_to_fit() -> dict[str, Film]:
    """Give scikit-image's pictures and faces, and matplotlib's."""
    pictures = to_calibrate()
    samples = _folder("matplotlib") / "mpl-data/sample_data"
    for path in [*sorted(samples.glob("*.jpg")), *sorted(samples.glob("*.png"))]:
        picture = _grey(path)
        if picture is not None:
            pictures[path.stem] = picture
    with gzip.open(samples / "s1045.ima.gz") as file:
        pictures["mr_head"] = _levels(np.frombuffer(file.read(), np.uint16).reshape(256, 256))
    return pictures


PICTURED = (
    "Pillow",
    "ImageHash",
    "colorthief",
    "face_recognition",
    "mahotas",
    "pixelmatch",
    "pytesseract",
    "thumbor",
)
"""Packages whose own tests and examples hold pictures."""


def photographs_to_test(packages: Path | None) -> dict[str, Film]:
    """Give the pictures of scikit-learn, and of `PICTURED` and PyWavelets where they are unpacked."""
    found = [
        ("sklearn", path) for path in sorted((_folder("sklearn") / "datasets/images").glob("*.jpg"))
    ]
    pictures: dict[str, Film] = {}
    known: list[NDArray[np.float32]] = []
    if packages is not None:
        for path in sorted(packages.glob("**/pywt/data/*.npz")):
            content = np.load(path)
            array = content[content.files[0]]
            if array.ndim == 2:
                pictures[f"pywavelets/{path.stem}"] = _levels(array)
                known.append(_signature(_levels(array)))
        for package in PICTURED:
            for folder in sorted(packages.glob(f"{package}-*/")):
                found += [(package, path) for path in sorted(folder.rglob("*"))]
    for package, path in found:
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".webp", ".ppm"):
            continue
        picture = _grey(path)
        # Hundreds of Pillow's are tiny, even, or the same lady's portrait once more.
        if picture is None or picture.std() < 12:
            continue
        signature = _signature(picture)
        if any(float((signature * other).mean()) > 0.95 for other in known):
            continue
        known.append(signature)
        pictures[f"{package}/{path.stem}"] = picture
    return pictures


def _signature(picture: Film) -> NDArray[np.float32]:
    tiny = np.asarray(cv2.resize(picture, (16, 16), interpolation=cv2.INTER_AREA), np.float32)
    return (tiny - tiny.mean()) / (tiny.std() + 1e-3)


def slices_to_test(packages: Path | None) -> dict[str, Film]:
    """Give CT, MR and other pictures of pydicom, highdicom, pynetdicom, dicompyler-core, nibabel."""
    from pydicom import dcmread

    folders = [_folder("pydicom") / "data/test_files"]
    if packages is not None:
        folders += sorted(p for p in packages.iterdir() if p.is_dir())
    pictures: dict[str, Film] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() not in (".dcm", ".ima", "") or not path.is_file():
                continue
            try:
                dataset = dcmread(path)
                array = dataset.pixel_array
            except Exception:  # noqa: BLE001  (test folders are full of broken files)
                continue
            modality = str(dataset.get("Modality", "")) or "none"
            frames = (
                array.reshape(-1, *array.shape[-2:])
                if array.ndim == 3 and array.shape[-1] > 4
                else [array]
            )
            for number, frame in enumerate(list(frames)[:: max(1, len(frames) // 3)][:3]):
                picture = _levels(frame if frame.ndim == 2 else frame[..., :3].mean(axis=-1))
                if min(picture.shape) < 40 or picture.std() < 4:
                    continue
                small = _signature(picture)
                if any(
                    float((small * o).mean()) > 0.985 for o in map(_signature, pictures.values())
                ):
                    continue
                pictures[f"{modality}/{path.stem}/{number}"] = picture
    if packages is not None:
        for path in sorted(packages.glob("nibabel*/**/*.nii*")) + sorted(
            packages.glob("nibabel/**/*.nii*")
        ):
            for number, picture in enumerate(_nifti(path)):
                pictures[f"MR/{path.name}/{number}"] = picture
    return pictures


def _nifti(path: Path) -> Iterator[Film]:
    """Give three slices of a NIfTI volume of the plain kind; nothing if it is another."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if len(data) < 352 or data[344:347] != b"n+1":
        return
    order = "<" if int.from_bytes(data[:4], "little") == 348 else ">"
    shape = np.frombuffer(data, order + "i2", 8, 40)
    kinds = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 512: "u2"}
    code = int(np.frombuffer(data, order + "i2", 1, 70)[0])
    if code not in kinds or shape[0] < 3 or min(shape[1:3]) < 30:
        return
    start = int(np.frombuffer(data, order + "f4", 1, 108)[0])
    size = [int(v) for v in shape[1:4]]
    volume = np.frombuffer(data, order + kinds[code], int(np.prod(size)), start).reshape(
        size, order="F"
    )
    for place in (0.35, 0.5, 0.65):
        piece = volume[:, :, int(place * size[2])]
        if float(np.std(piece)) > 0:
            yield np.ascontiguousarray(np.rot90(_levels(piece)))


def drawings_to_test() -> dict[str, list[Film]]:
    """Give drawings of the older hand, whose code the fit has not seen."""
    return {
        f"drawn {kind}": [drawn(np.random.default_rng([91, i]), kind) for i in range(24)]
        for kind in ("text", "gradient", "noise", "rings", "hand", "even")
    }


TURNS = {"turned 90": 1, "upside down": 2, "turned 270": 3}
CUTS = {
    "left half": (slice(None), slice(0, 0.5)),
    "right half": (slice(None), slice(0.5, 1)),
    "upper half": (slice(0, 0.5), slice(None)),
    "lower half": (slice(0.5, 1), slice(None)),
    "upper left quarter": (slice(0, 0.5), slice(0, 0.5)),
    "upper right quarter": (slice(0, 0.5), slice(0.5, 1)),
    "lower left quarter": (slice(0.5, 1), slice(0, 0.5)),
    "lower right quarter": (slice(0.5, 1), slice(0.5, 1)),
}


def turned(film: Film, how: str) -> Film:
    """Turn a film by quarters."""
    return np.ascontiguousarray(np.rot90(film, TURNS[how]))


def cut(film: Film, how: str) -> Film:
    """Cut a half or a quarter out of a film."""
    rows, columns = (
        slice(
            None if part.start is None else int(part.start * size),
            None if part.stop is None else int(part.stop * size),
        )
        for part, size in zip(CUTS[how], film.shape, strict=True)
    )
    return np.ascontiguousarray(film[rows, columns])
