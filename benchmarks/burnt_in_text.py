"""Whether text that is burnt into films is found, and how often a film without any is taken for one with it.

    python benchmarks/burnt_in_text.py [--seed 0]

Names, dates and numbers are drawn in five heights and three typefaces of DejaVu on the originals of
../shared and on drawn films, white on dark places and black on bright ones, and saved as JPEG or PNG.
False alarms are counted on the same films as they are, with a marker drawn on (L, R, AP, PA), and on
every 224-pixel film of ../shared. An original that is flagged as it is was looked at: those of `KNOWN` have
words in them. Writes results/burnt_in_text.json and .md.
"""

from __future__ import annotations

import argparse
import io
import random
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxrlens.phantoms import draw_phantom
from cxrlens.quality import Chain
from cxrlens.radiographs.read import decode_radiograph, read_radiograph
from quality_films import CXR, RAW
from record import RESULTS, keep, machine, markdown, stamp

LOOK = Chain.named("robust", steps=("burnt_in_text",)).native[0]
FACES = ("DejaVuSans.ttf", "DejaVuSansMono.ttf", "DejaVuSerif-Bold.ttf")
TEXTS = (
    "ROSSI^MARIA",
    "Rossi, Maria 12.03.1961",
    "ID 4711-0815",
    "2024-02-29 10:15",
    "SMITH JOHN M 45Y",
    "St. Anna Hospital",
)
HEIGHTS = (8, 12, 16, 24, 40)
KNOWN = {"1f4e092802": "PORTABLE", "60ba0a0f5e": "PORTABLE", "4450f34524": "Bettau..."}

Film = NDArray[np.uint8]


def written(film: Film, text: str, height: int, draw: random.Random) -> Film | None:
    """Write on a film where it can be read, in letters of a height; None if it has no room."""
    picture = Image.fromarray(film)
    face = ImageFont.truetype(draw.choice(FACES), round(height / 0.73))
    left, top, right, bottom = face.getbbox(text)
    for _ in range(20):
        room = film.shape[1] - right - 4, film.shape[0] - bottom - 4
        if min(room) < 8:
            return None
        at = draw.randrange(4, room[0]), draw.randrange(4, room[1])
        if draw.random() < 0.5:
            at = at[0], draw.choice((4, room[1] - 4))
        ground = film[
            at[1] + int(top) : at[1] + int(bottom), at[0] + int(left) : at[0] + int(right)
        ]
        dark, bright = np.percentile(ground, [2, 98])
        if bright < 150 or dark > 105:
            ink = 255 if bright < 150 else 0
            ImageDraw.Draw(picture).text(at, text, font=face, fill=ink)
            return coded(picture, draw)
    return None


def coded(picture: Image.Image, draw: random.Random) -> Film:
    """Save and read again, as JPEG mostly."""
    file = io.BytesIO()
    quality = draw.choice((60, 80, 95, 0))
    picture.save(file, "JPEG", quality=quality) if quality else picture.save(file, "PNG")
    return decode_radiograph(file.getvalue(), "film")


def found(film: Film) -> bool:
    return LOOK.detect(film).present


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    originals = sorted((RAW / "images").iterdir())
    films = {path.stem: read_radiograph(path) for path in originals}
    labels = ("normal", "pneumonia", "tuberculosis")
    films |= {f"drawn {n}": draw_phantom(n, labels[n % 3], 512).film for n in range(60)}
    plain: Counter[str] = Counter()
    told: Counter[tuple[str, Any]] = Counter()
    flagged = []
    for name, film in films.items():
        kind = "drawn" if name.startswith("drawn") else "original"
        plain[kind] += 1
        if found(film):
            flagged.append(name)
        draw = random.Random(f"{seed} {name}")
        for text in ("L", "R", "AP", "PA"):
            marked = written(film, text, film.shape[0] // draw.choice((16, 24, 40)), draw)
            if marked is not None and name not in KNOWN:
                told["marker", "films"] += 1
                told["marker", "flagged"] += found(marked)
        for height in HEIGHTS:
            for text in draw.sample(TEXTS, 2):
                with_text = written(film, text, height, draw)
                if with_text is not None and name not in KNOWN:
                    told[f"text of {height} pixels", "films"] += 1
                    told[f"text of {height} pixels", "flagged"] += found(with_text)
    for path in sorted((CXR / "images").rglob("*.jp*g")):
        told["224-pixel films of ../shared", "films"] += 1
        told["224-pixel films of ../shared", "flagged"] += found(read_radiograph(path))
    unknown = [name for name in flagged if name not in KNOWN]
    rows = [("originals without words, drawn films", len(films) - len(KNOWN), len(unknown))]
    rows += [("originals with words", len(KNOWN), len(flagged) - len(unknown))]
    kinds = dict.fromkeys(kind for kind, _ in told)
    rows += [(kind, told[kind, "films"], told[kind, "flagged"]) for kind in kinds]
    table = pd.DataFrame(rows, columns=["films", "number", "flagged"])
    table["share, %"] = (100 * table["flagged"] / table["number"]).round(2)
    keep(
        "burnt_in_text",
        {"seed": seed, "rows": table.to_dict("records"), "flagged": flagged, "words": KNOWN},
    )
    text = f"{markdown(table)}\n\nSeed {seed}. {stamp(machine())}\n"
    (RESULTS / "burnt_in_text.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
