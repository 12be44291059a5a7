"""Pictures that are no frontal chest radiographs: scikit-image's, to fit; drawings, to test.

What else the gate is fitted on and tested with is in `gate_pictures.py`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Film = NDArray[np.uint8]


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _grey(path: Path) -> Film | None:
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    return None if picture is None else np.asarray(picture, np.uint8)


def to_calibrate() -> dict[str, Film]:
    """Give scikit-image's pictures and 60 of its faces, by name."""
    folder = _folder("skimage") / "data"
    pictures = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in (".png", ".jpg"):
            picture = _grey(path)
            if picture is not None:
                pictures[path.stem] = picture
    faces = np.load(folder / "lfw_subset.npy")
    for i in range(0, 100, 5):
        face = (255 * np.clip(faces[i], 0, 1)).astype(np.uint8)
        pictures[f"face{i}"] = np.asarray(cv2.resize(face, (200, 200), interpolation=2), np.uint8)
    return pictures


def drawn(rng: np.random.Generator, kind: str) -> Film:
    """Draw a page of text, a gradient, noise, a hand or an even picture."""
    side = int(rng.integers(224, 600))
    film = np.full((side, side), int(rng.integers(190, 256)), np.uint8)
    if kind == "text":
        size = rng.uniform(0.4, 1.2)
        for y in range(int(20 * size), side, int(28 * size) + 4):
            words = "".join(rng.choice(list("abcdefghij klmno pqrstu vwxyz"), 60))
            cv2.putText(film, words, (8, y), cv2.FONT_HERSHEY_SIMPLEX, size, 20, 1)
    elif kind == "gradient":
        y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
        turn = rng.uniform(0, 2 * np.pi)
        slope = np.cos(turn) * x + np.sin(turn) * y
        film = np.asarray(cv2.normalize(slope, None, 0, 255, cv2.NORM_MINMAX), np.uint8)
    elif kind == "noise":
        film = rng.integers(0, 256, film.shape, dtype=np.uint8)
    elif kind == "rings":
        y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
        waves = np.cos(np.hypot(x, y) * rng.uniform(6, 30))
        film = np.asarray(cv2.normalize(waves, None, 0, 255, cv2.NORM_MINMAX), np.uint8)
    elif kind == "hand":
        film[:] = int(rng.integers(0, 40))
        palm, grey = (side // 2, int(0.68 * side)), int(rng.integers(120, 220))
        cv2.ellipse(film, palm, (side // 5, side // 4), 0, 0, 360, grey, -1)
        for turn in np.deg2rad([-55, -20, -5, 10, 25]):
            tip = (
                palm[0] + int(np.sin(turn) * 0.55 * side),
                palm[1] - int(np.cos(turn) * 0.6 * side),
            )
            cv2.line(film, palm, tip, grey, side // 14)
            cv2.line(film, palm, tip, min(255, grey + 40), side // 35)
        film = np.asarray(cv2.GaussianBlur(film, (0, 0), side / 150), np.uint8)
    elif kind == "even":
        film[:] = int(rng.integers(0, 256))
    return film


def views(picture: Film, count: int, rng: np.random.Generator) -> list[Film]:
    """Give the picture and parts of it, mirrored, turned, inverted by chance."""
    given = [picture]
    while len(given) < count:
        height, width = picture.shape
        part = rng.uniform(0.5, 1.0)
        tall, broad = max(32, int(part * height)), max(32, int(part * width))
        y = int(rng.integers(0, max(1, height - tall + 1)))
        x = int(rng.integers(0, max(1, width - broad + 1)))
        view = np.rot90(picture[y : y + tall, x : x + broad], int(rng.choice([0, 0, 0, 1, 2, 3])))
        if rng.random() < 0.5:
            view = view[:, ::-1]
        if rng.random() < 0.3:
            view = 255 - view
        given.append(np.ascontiguousarray(view))
    return given
