"""Phantom films, one by one or a folder of them with its tables, named as the 2023 study's are.

Each film of a set depends on its place in the set and on the set's seed only.
"""

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from cxrlens.errors import OutputError
from cxrlens.files import explained, moved_into_place, refuse_filled
from cxrlens.phantoms.anatomy import Body, Canvas
from cxrlens.phantoms.body import draw_lesions, draw_scene
from cxrlens.phantoms.defects import Damaged, Defect, described, draw_defect
from cxrlens.phantoms.exposure import SOURCES, Exposure, develop, open_field
from cxrlens.progress import Progress, counted
from cxrlens.radiographs.grey import Film, Mask

LABELS = ("normal", "pneumonia", "tuberculosis")
SIDES = (64, 1024)


class Phantom(NamedTuple):
    """A drawn radiograph and what is known of it.

    Parameters
    ----------
    film
        (side, side) uint8, bright where little passed.
    label
        "normal", "pneumonia" or "tuberculosis".
    lesion_mask, lung_mask
        (side, side) bool; lungs as far as heart, diaphragm and shutters leave them to
        be seen.
    view
        "PA" or "AP".
    age, sex
        Years; "F" or "M".
    source
        The drawn hospital, "phantom-a" or "phantom-b".
    seed
        What it was drawn with.
    """

    film: Film
    label: str
    lesion_mask: Mask
    lung_mask: Mask
    view: str
    age: int
    sex: str
    source: str
    seed: int


def draw_phantom(
    seed: int,
    label: str,
    side: int = 224,
    *,
    patient: int | None = None,
    source: str | None = None,
) -> Phantom:
    """Draw one chest radiograph.

    Parameters
    ----------
    seed
        Of the exposure and the lesions, 0 or more. The same arguments give the same film.
    label
        "normal", "pneumonia" or "tuberculosis". It changes the lesions and nothing else.
    side
        Pixels along an edge, 64 to 1024. The same seed shows the same scene at every side.
    patient
        Seed of the patient, for follow-up films of one person; `seed` if not given.
    source
        "phantom-a" or "phantom-b"; drawn from `seed` if not given.

    Returns
    -------
    Phantom
        The film with its masks.

    Raises
    ------
    ValueError
        If the seed, the label, the side or the source is none of the above.

    Examples
    --------
    >>> phantom = draw_phantom(7, "tuberculosis", side=96)
    >>> phantom.film.shape, phantom.view, bool(phantom.lesion_mask.any())
    ((96, 96), 'PA', True)
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}: it must be 0 or more")
    if label not in LABELS:
        raise ValueError(f"label is {label!r}: choose one of {', '.join(LABELS)}")
    if not SIDES[0] <= side <= SIDES[1]:
        raise ValueError(f"side is {side}: choose {SIDES[0]} to {SIDES[1]}")
    if source is not None and source not in SOURCES:
        raise ValueError(f"source is {source!r}: choose one of {', '.join(SOURCES)}")
    body = Body(np.random.default_rng([1, seed if patient is None else patient]))
    exposure = Exposure(np.random.default_rng([2, seed]), body.age, source)
    canvas = Canvas(side, exposure.centre, exposure.half_width, exposure.height, exposure.tilt)
    scene = draw_scene(canvas, body, exposure)
    lesions = draw_lesions(np.random.default_rng([3, seed]), label, canvas, scene.lungs)
    attenuation = (
        scene.body + scene.vessels * (1 - np.float32(0.7) * lesions.filled) + lesions.density
    )
    film = develop(canvas, exposure, attenuation)
    seen = open_field(side, exposure)
    lungs = (scene.lungs > 0.5) & seen
    told = exposure.view, body.age, body.sex, exposure.source, seed
    return Phantom(film, label, lesions.mask & seen, lungs, *told)


_SHARES = (0.4, 0.3, 0.3)  # of the labels
_FOLLOW_UPS = 0.12  # share of patients with a second film
_JPEGS = 0.4
_BOXES = ["image", "finding", "x0", "y0", "x1", "y1"]
_TOGETHER = 0.06  # share of the width across which lesions count as one
_SPECK = 0.0005  # share of the film below which a group is no lesion
_Written = tuple[list[dict[str, Any]], list[dict[str, Any]]]
_COLUMNS = ["image", "label", "patient", "acquisition", "source", "view", "age", "sex"]


class _Plan(NamedTuple):
    """One exposure to draw."""

    number: int
    label: str
    patient: int
    patient_seed: int
    seed: int


def write_phantoms(
    folder: Path,
    count: int,
    seed: int = 0,
    side: int = 224,
    *,
    defects: float = 0.0,
    copies: float = 0.0,
    masks: bool = False,
    progress: Progress | None = None,
    force: bool = False,
) -> Path:
    r"""Draw a set of phantom films into a folder.

    Parameters
    ----------
    folder
        Where to write ``images/``, ``films.csv``, ``boxes.csv`` and ``truth.csv`` (and ``masks/`` with
        ``lungs.csv`` if asked).
    count
        Exposures to draw, 1 or more: 40 % normal, 30 % pneumonia, 30 % tuberculosis. Copies come on top.
    seed
        The same seed and settings give the same files.
    side
        Pixels along an edge.
    defects
        Share of the exposures with one to two damages of `defects.KINDS`, in [0, 1].
    copies
        Share of the exposures of which a second, damaged file exists, in [0, 1]; both files have the
        same ``acquisition``, and either can be the clean one.
    masks
        Whether to write ``masks/NAME_lungs.png`` and ``masks/NAME_lesions.png`` (0 and 255).
    progress
        Called with the number of exposures done and their total after each one.
    force
        Whether an existing folder may be replaced.

    Returns
    -------
    Path
        The written ``films.csv``, with the columns of a collection. ``boxes.csv`` has a box round every
        lesion; ``truth.csv`` says for every image which damages were done to it (`defects.recalled` reads
        them), in what order.

    Raises
    ------
    ValueError
        If a number is out of its range.
    OutputError
        If the folder exists or cannot be written.

    Examples
    --------
    >>> write_phantoms(Path("drawn"), 4, side=64).read_text().count("\n")
    5
    """
    if count < 1:
        raise ValueError(f"count is {count}: it must be 1 or more")
    if not (0 <= defects <= 1 and 0 <= copies <= 1):
        raise ValueError(f"defects is {defects} and copies {copies}: both are shares, 0 to 1")
    folder = Path(folder)
    refuse_filled(folder, force)
    if folder.exists() and any(folder.iterdir()) and not (folder / "truth.csv").is_file():
        raise OutputError(f"{folder} holds no drawn films, so it stays: choose another place")
    plans = _plans(count, seed)
    with moved_into_place(folder) as draft, explained(folder):
        (draft / "images").mkdir(parents=True)
        if masks:
            (draft / "masks").mkdir()
        rows: list[dict[str, Any]] = []
        boxes: list[dict[str, Any]] = []
        for plan in counted(plans, count, progress):
            films, round_lesions = _write(draft, side, defects, copies, masks, plan)
            rows += films
            boxes += round_lesions
        table = pd.DataFrame(rows)
        table[_COLUMNS].to_csv(draft / "films.csv", index=False)
        table.drop(columns=["view", "age", "sex"]).to_csv(draft / "truth.csv", index=False)
        pd.DataFrame(boxes, columns=_BOXES).to_csv(draft / "boxes.csv", index=False)
        if masks:
            lungs = [f"masks/{Path(image).stem}_lungs.png" for image in table["image"]]
            table[["image"]].assign(mask=lungs).to_csv(draft / "lungs.csv", index=False)
    return folder / "films.csv"


def _plans(count: int, seed: int) -> list[_Plan]:
    rng = np.random.default_rng([4, seed])
    bounds = np.round(np.cumsum(_SHARES) * count).astype(int)
    labels = np.repeat(LABELS, np.diff(bounds, prepend=0))
    # A patient's films follow one another within a label, then all films are shuffled.
    patients = np.arange(count)
    second = rng.random(count) < _FOLLOW_UPS
    for k in range(1, count):
        if second[k] and not second[k - 1] and labels[k] == labels[k - 1]:
            patients[k] = patients[k - 1]
    people = rng.permutation(count)
    seeds = rng.integers(2**31, size=(2, count))
    return [
        _Plan(
            number,
            str(labels[k]),
            int(people[patients[k]]) + 1,
            int(seeds[1, patients[k]]),
            int(seeds[0, k]),
        )
        for number, k in enumerate(rng.permutation(count), 1)
    ]


def _write(
    draft: Path, side: int, defects: float, copies: float, masks: bool, plan: _Plan
) -> _Written:
    """Draw one exposure and write its one or two files; return their rows and the boxes of their lesions."""
    phantom = draw_phantom(plan.seed, plan.label, side, patient=plan.patient_seed)
    rng = np.random.default_rng([5, plan.seed])
    acquisition = f"P{plan.number:05d}"
    damaged = _some_defects(rng) if rng.random() < defects else []
    files: list[list[Defect]] = [damaged]
    if rng.random() < copies:
        files = [[], damaged or _some_defects(rng)]
        if rng.random() < 0.5:
            files.reverse()
    rows = []
    boxes = []
    for copy, done in enumerate(files, 1):
        suffix = "jpg" if rng.random() < _JPEGS else "png"
        quality = int(rng.integers(80, 96))
        name = f"{acquisition}_{copy}"
        image = f"images/{name}.{suffix}"
        film = phantom.film
        truths: list[Damaged] = []
        lungs, lesions = phantom.lung_mask, phantom.lesion_mask
        for defect in done:
            truths.append(defect.apply(film))
            film = truths[-1].film
            lungs, lesions = defect.follow(lungs), defect.follow(lesions)
        _save(draft / image, film, quality)
        if masks:
            for what, mask in (("lungs", lungs), ("lesions", lesions)):
                place = draft / "masks" / f"{name}_{what}.png"
                _save(place, mask.astype(np.uint8) * 255, quality)
        borders = next((t.borders for t in truths if any(t.borders)), (0, 0, 0, 0))
        row: dict[str, Any] = {
            "image": image,
            "label": plan.label,
            "patient": f"H{plan.patient:05d}",
            "acquisition": acquisition,
            "source": phantom.source,
            "view": phantom.view,
            "age": phantom.age,
            "sex": phantom.sex,
            "copy_number": copy,
            "copies": len(files),
            "kinds": " ".join(t.kind for t in truths),
            "findings": " ".join(t.finding for t in truths),
            "levels": " ".join(f"{t.level:.4g}" for t in truths),
            "lesion_share": round(float(phantom.lesion_mask.mean()), 5),
            "seed": plan.seed,
            "patient_seed": plan.patient_seed,
            "defects": described(done),
        }
        sides = (f"pad_{side}" for side in ("top", "bottom", "left", "right"))
        rows.append(row | dict(zip(sides, borders, strict=True)))
        boxes += [
            {"image": image, "finding": plan.label, **dict(zip(_BOXES[2:], sides, strict=True))}
            for sides in boxes_round(lesions)
        ]
    return rows, boxes


def boxes_round(lesions: Mask) -> list[tuple[float, float, float, float]]:
    """Draw a box round each group of lesions, as a radiologist would round a patch and what lies beside it.

    Parameters
    ----------
    lesions
        (H, W) bool.

    Returns
    -------
    list of tuple
        x0, y0, x1, y1 as fractions of width and height; specks at the edge of what can be seen get none.
    """
    height, width = lesions.shape
    reach = max(1, round(_TOGETHER * width))
    near = cv2.dilate(lesions.astype(np.uint8), np.ones((reach, reach), np.uint8))
    count, groups = cv2.connectedComponents(near)
    boxes = []
    for group in range(1, count):
        down, right = np.nonzero((groups == group) & lesions)
        if len(down) >= _SPECK * lesions.size:
            sides = (right.min(), down.min(), right.max() + 1, down.max() + 1)
            x0, y0, x1, y1 = map(float, sides)
            boxes.append((x0 / width, y0 / height, x1 / width, y1 / height))
    return boxes


def _some_defects(rng: np.random.Generator) -> list[Defect]:
    """Draw one damage, or two of different findings."""
    drawn = [draw_defect(rng)]
    other = draw_defect(rng)
    if rng.random() < 0.2 and other.finding != drawn[0].finding:
        drawn.append(other)
    return drawn


def _save(path: Path, image: np.ndarray[Any, np.dtype[np.uint8]], quality: int) -> None:
    png, jpeg = [cv2.IMWRITE_PNG_COMPRESSION, 3], [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(path.suffix, image, jpeg if path.suffix == ".jpg" else png)
    path.write_bytes(data.tobytes())
