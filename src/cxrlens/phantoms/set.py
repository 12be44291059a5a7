"""A folder of phantom films with its tables, in the report's naming.

Each film depends on its place in the set and on the set's seed only, so that any number of workers
writes the same bytes.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.files import explained, moved_into_place, refuse_filled
from cxrlens.phantoms.defects import Damaged, Defect, described, draw_defect
from cxrlens.phantoms.film import LABELS, Phantom, draw_phantom
from cxrlens.progress import Progress

SHARES: Mapping[str, float] = {"normal": 0.4, "pneumonia": 0.3, "tuberculosis": 0.3}
_FOLLOW_UPS = 0.12  # share of patients with a second film
_JPEGS = 0.4
_BOXES = ["image", "finding", "x0", "y0", "x1", "y1"]
_TOGETHER = 0.06  # share of the width across which lesions count as one
_SPECK = 0.0005  # share of the film below which a group is no lesion
_Written = tuple[list[dict[str, Any]], list[dict[str, Any]]]
_COLUMNS = ["image", "label", "patient", "acquisition", "source", "view", "age", "sex"]


@dataclass(frozen=True)
class _Plan:
    """One exposure to draw: everything that a worker needs."""

    number: int
    label: str
    patient: int
    patient_seed: int
    seed: int
    side: int
    defects: float
    copies: float
    masks: bool


def write_phantoms(
    folder: Path,
    count: int,
    seed: int = 0,
    side: int = 224,
    *,
    defects: float = 0.0,
    copies: float = 0.0,
    shares: Mapping[str, float] | None = None,
    masks: bool = False,
    workers: int = 1,
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
        Exposures to draw, 1 or more. Copies come on top.
    seed
        The same seed and settings give the same files.
    side
        Pixels along an edge.
    defects
        Share of the exposures with one to two damages of `defects.KINDS`, in [0, 1].
    copies
        Share of the exposures of which a second, damaged file exists, in [0, 1]; both files have the
        same ``acquisition``, and either can be the clean one.
    shares
        Share of each label; by default 40 % normal, 30 % pneumonia, 30 % tuberculosis.
    masks
        Whether to write ``masks/NAME_lungs.png`` and ``masks/NAME_lesions.png`` (0 and 255).
    workers
        Processes to draw with.
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
        If a number is out of its range or a share names no label.
    OutputError
        If the folder exists or cannot be written.

    Examples
    --------
    >>> write_phantoms(Path("drawn"), 4, side=64).read_text().count("\n")
    5
    """
    shares = dict(SHARES if shares is None else shares)
    if unknown := set(shares) - set(LABELS):
        raise ValueError(
            f"shares name {', '.join(sorted(unknown))}: choose from {', '.join(LABELS)}"
        )
    if min(shares.values(), default=0) < 0 or not sum(shares.values()) > 0:
        raise ValueError("shares must not be negative, and one must be above 0")
    if count < 1 or workers < 1:
        raise ValueError(f"count is {count} and workers {workers}: both must be 1 or more")
    if not (0 <= defects <= 1 and 0 <= copies <= 1):
        raise ValueError(f"defects is {defects} and copies {copies}: both are shares, 0 to 1")
    folder = Path(folder)
    refuse_filled(folder, force)
    plans = _plans(count, seed, side, shares, defects, copies, masks)
    with moved_into_place(folder) as draft, explained(folder):
        (draft / "images").mkdir(parents=True)
        if masks:
            (draft / "masks").mkdir()
        rows: list[dict[str, Any]] = []
        boxes: list[dict[str, Any]] = []
        for done, (written, round_lesions) in enumerate(
            _mapped(partial(_write, draft), plans, workers), 1
        ):
            rows += written
            boxes += round_lesions
            if progress is not None:
                progress(done, len(plans))
        table = pd.DataFrame(rows)
        table[_COLUMNS].to_csv(draft / "films.csv", index=False)
        table.drop(columns=["view", "age", "sex"]).to_csv(draft / "truth.csv", index=False)
        pd.DataFrame(boxes, columns=_BOXES).to_csv(draft / "boxes.csv", index=False)
        if masks:
            lungs = [f"masks/{Path(image).stem}_lungs.png" for image in table["image"]]
            table[["image"]].assign(mask=lungs).to_csv(draft / "lungs.csv", index=False)
    return folder / "films.csv"


def _plans(
    count: int,
    seed: int,
    side: int,
    shares: Mapping[str, float],
    defects: float,
    copies: float,
    masks: bool,
) -> list[_Plan]:
    rng = np.random.default_rng(np.random.SeedSequence([4, seed]))
    weights = np.array([shares.get(label, 0.0) for label in LABELS])
    bounds = np.round(np.cumsum(weights) / weights.sum() * count).astype(int)
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
            number=number,
            label=str(labels[k]),
            patient=int(people[patients[k]]) + 1,
            patient_seed=int(seeds[1, patients[k]]),
            seed=int(seeds[0, k]),
            side=side,
            defects=defects,
            copies=copies,
            masks=masks,
        )
        for number, k in enumerate(rng.permutation(count), 1)
    ]


def _mapped(
    work: Callable[[_Plan], _Written], plans: list[_Plan], workers: int
) -> Iterator[_Written]:
    if workers == 1:
        yield from map(work, plans)
        return
    # A forked child of a process in which OpenCV has threads hangs.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _single_thread) as pool:
        yield from pool.map(work, plans, chunksize=max(1, min(16, len(plans) // (4 * workers))))


def _single_thread() -> None:
    cv2.setNumThreads(1)


def _write(draft: Path, plan: _Plan) -> _Written:
    """Draw one exposure and write its one or two files; give their rows and the boxes of their lesions."""
    phantom = draw_phantom(plan.seed, plan.label, plan.side, patient=plan.patient_seed)
    rng = np.random.default_rng(np.random.SeedSequence([5, plan.seed]))
    acquisition = f"P{plan.number:05d}"
    damaged = _some_defects(rng) if rng.random() < plan.defects else []
    files: list[list[Defect]] = [damaged]
    if rng.random() < plan.copies:
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
        if plan.masks:
            _save(draft / "masks" / f"{name}_lungs.png", lungs.astype(np.uint8) * 255, quality)
            _save(draft / "masks" / f"{name}_lesions.png", lesions.astype(np.uint8) * 255, quality)
        rows.append(_row(plan, phantom, image, acquisition, copy, len(files), done, truths))
        boxes += [
            {"image": image, "finding": plan.label, **dict(zip(_BOXES[2:], sides, strict=True))}
            for sides in boxes_round(lesions)
        ]
    return rows, boxes


def boxes_round(lesions: NDArray[np.bool_]) -> list[tuple[float, float, float, float]]:
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


def _row(
    plan: _Plan,
    phantom: Phantom,
    image: str,
    acquisition: str,
    copy: int,
    copies: int,
    done: list[Defect],
    truths: list[Damaged],
) -> dict[str, Any]:
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
        "copies": copies,
        "kinds": " ".join(t.kind for t in truths),
        "findings": " ".join(t.finding for t in truths),
        "levels": " ".join(f"{t.level:.4g}" for t in truths),
        "lesion_share": round(float(phantom.lesion_mask.mean()), 5),
        "seed": plan.seed,
        "patient_seed": plan.patient_seed,
        "defects": described(done),
    }
    row |= dict(zip(("pad_top", "pad_bottom", "pad_left", "pad_right"), borders, strict=True))
    return row


def _save(path: Path, image: np.ndarray[Any, np.dtype[np.uint8]], quality: int) -> None:
    suffix = path.suffix
    settings = (
        [cv2.IMWRITE_JPEG_QUALITY, quality]
        if suffix == ".jpg"
        else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    )
    _, data = cv2.imencode(suffix, image, settings)
    path.write_bytes(data.tobytes())
