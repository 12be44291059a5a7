"""The robust chain's looking, written straightforwardly with scikit-image and SciPy, to compare with.

Each function follows its namesake in `cxrlens.quality`, on whole arrays, as one would write it
first. `detect` gives the logits and measures that the shipped detectors compare with thresholds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, measure, morphology, transform

from cxrlens.quality import Chain
from cxrlens.quality.borders import EvenBorders, SharpIslands
from cxrlens.quality.detail import BandRegression, GrainRegression, lively, sample_blocks
from cxrlens.quality.exposure import DarkTone, OddRegression

Film = NDArray[np.uint8]


def shrink(film: Film, shape: tuple[int, int]) -> Film:
    """Average over areas where the film shrinks: integrate, interpolate, difference."""
    levels = film.astype(np.float64)
    for axis, length in enumerate(shape):
        had = levels.shape[axis]
        if had <= length:
            if had < length:
                to = (length, levels.shape[1]) if axis == 0 else (levels.shape[0], length)
                levels = transform.resize(levels, to, order=1, mode="edge", preserve_range=True)
            continue
        sums = np.concatenate([np.zeros_like(levels.take([0], axis)), levels.cumsum(axis)], axis)
        at = np.linspace(0, had, length + 1)
        low = np.minimum(np.floor(at).astype(int), had - 1)
        part = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        edges = sums.take(low, axis) * (1 - part) + sums.take(low + 1, axis) * part
        levels = np.diff(edges, axis=axis) * (length / had)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def grain_statistics(film: Film) -> NDArray[np.float64]:
    """Follow `cxrlens.quality.detail.grain_statistics`, block by block."""
    blocks = lively(sample_blocks(film))
    per_block: list[list[float]] = []
    for block in blocks:
        smooth, row = block.astype(np.float64), []
        for _ in range(3):
            a, b = smooth[0::2, 0::2], smooth[0::2, 1::2]
            c, d = smooth[1::2, 0::2], smooth[1::2, 1::2]
            diagonal = (a - b - c + d) / 2
            upright = np.stack([(a - b + c - d) / 2, (a + b - c - d) / 2])
            smooth = (a + b + c + d) / 2
            for detail in (diagonal, upright):
                row += [np.sqrt((detail**2).mean()), np.median(np.abs(detail)) / 0.6745]
        per_block.append(row)
    table = np.array(per_block)
    statistics: list[float] = []
    for column in range(0, table.shape[1], 2):
        statistics += list(np.log(0.1 + np.percentile(table[:, column], [10, 25, 50])))
        statistics += list(np.log(0.1 + np.percentile(table[:, column + 1], [25, 50])))
    tall = blocks.reshape(-1, 32)
    smoothed = filters.median(tall, np.ones((3, 3), bool), mode="nearest")
    away = np.abs(tall.astype(int) - smoothed).reshape(blocks.shape)[:, 1:-1, 1:-1]
    for levels in (16, 40):
        share = (away > levels).mean(axis=(1, 2))
        statistics += list(np.log(1e-3 + np.percentile(share, [50, 20])))
    return np.array([*statistics, np.log(np.sqrt(film.size) / 224)])


def band_statistics(film: Film) -> NDArray[np.float64]:
    """Follow `cxrlens.quality.detail.band_statistics`."""
    levels, statistics = film.astype(np.float64), []
    blocks = film.shape[0] // 16, film.shape[1] // 16
    for sigma in (0.6, 1.0, 1.7, 2.9, 5.0):
        radius = int(np.ceil(3 * sigma))
        smooth = ndimage.gaussian_filter(levels, sigma, mode="mirror", radius=radius)
        energy = measure.block_reduce(
            (levels - smooth) ** 2,
            (film.shape[0] // blocks[0], film.shape[1] // blocks[1]),
            np.mean,
        )
        statistics += list(np.log(0.1 + np.percentile(np.sqrt(energy), [25, 50, 75, 90])))
    return np.array(statistics)


def rank_thumbnail(film: Film) -> NDArray[np.float64]:
    """Follow `cxrlens.quality.gate.rank_thumbnail`."""
    from scipy.stats import rankdata

    small = shrink(film, (16, 16)).ravel()
    return np.asarray(2 * (rankdata(small) - 1) / (small.size - 1) - 1)


def odd_statistics(film: Film) -> NDArray[np.float64]:
    """Follow `cxrlens.quality.exposure.odd_statistics`."""
    ranks = rank_thumbnail(film).reshape(16, 16)
    half = ((ranks + ranks[:, ::-1]) / 2)[:, :8].ravel()
    small = shrink(film, (112, 112)).astype(float)
    skews, finer = [], small
    for sigma in (1.0, 2.0, 4.0, 8.0):
        coarser = ndimage.gaussian_filter(small, sigma, mode="mirror", radius=round(4 * sigma))
        band = (finer - coarser)[4:-4, 4:-4]
        skews.append(float((np.clip(band / max(band.std(), 0.5), -4, 4) ** 3).mean()))
        finer = coarser
    low, median, high = np.percentile(small, [2, 50, 98])
    middle, reach = (high + low) / 2, max(high - low, 8.0)
    lean = [(small.mean() - middle) / reach, (median - middle) / reach, (high + low) / 255 - 1]
    return np.array([*half, *skews, *lean])


def tone_statistics(film: Film) -> NDArray[np.float64]:
    """Follow `cxrlens.quality.exposure.tone_statistics`."""
    inner = np.sort(film[film > 3]) if (film > 3).any() else np.sort(film.ravel())
    at = [int(np.ceil(q * inner.size)) - 1 for q in (0.05, 0.25, 0.5, 0.75, 0.98)]
    return np.array([film.mean(), inner.mean(), *inner[np.maximum(at, 0)]]) / 255


def islands(film: Film, step: SharpIslands) -> float:
    """Follow `cxrlens.quality.borders.SharpIslands`: how much the clearest island stands out."""
    most = 0.0
    for extreme, far in (
        (film <= step.level, film >= step.level + step.step),
        (film >= 255 - step.level, film <= 255 - step.level - step.step),
    ):
        labels = measure.label(extreme, connectivity=1)
        for region in measure.regionprops(labels):
            if not step.smallest <= region.area / film.size <= step.largest:
                continue
            if region.solidity < step.solidity:
                continue
            mask = labels == region.label
            square = morphology.footprint_rectangle((3, 3))
            near = morphology.dilation(mask, square)
            wide = morphology.dilation(morphology.dilation(near, square), square)
            ring = wide & ~near
            most = max(most, float(far[ring].mean()) if ring.any() else 0.0)
    return most


def widest_border(film: Film, step: EvenBorders) -> tuple[int, int, int, int]:
    """Follow `cxrlens.quality.borders.EvenBorders.borders`, one line after another."""
    height, width = film.shape
    rows, columns = min(height, step.looked), min(width, step.looked)
    small = film[:: max(1, height // (2 * rows)), :: max(1, width // (2 * columns))]
    small = shrink(small, (rows, columns))
    edges = [0, rows, 0, columns]
    for _ in range(2):
        inner = small[edges[0] : edges[1], edges[2] : edges[3]]
        across = ndimage.uniform_filter1d(inner.astype(float), 9, axis=1, mode="mirror")
        down = ndimage.uniform_filter1d(inner.astype(float), 9, axis=0, mode="mirror").T
        lines = (across, across[::-1], down, down[::-1])
        found = [_depth(np.rint(one), step) for one in lines]
        edges = [edges[0] + found[0], edges[1] - found[1], edges[2] + found[2], edges[3] - found[3]]
        if not any(found) or min(edges[1] - edges[0], edges[3] - edges[2]) < 9:
            break
    top, bottom, left, right = edges
    if bottom - top < (1 - step.most) * rows or right - left < (1 - step.most) * columns:
        return 0, 0, 0, 0
    return top, rows - bottom, left, columns - right


def _depth(lines: NDArray[np.float64], step: EvenBorders) -> int:
    count, depth = len(lines), 0
    grey = float(np.median(lines[0]))
    if min(grey, 255 - grey) > step.level or count < 9:
        return 0
    while depth < count and np.mean(np.abs(lines[depth] - grey) <= step.tolerance) >= step.even:
        depth += 1
    if depth == count or depth < step.width * step.looked:
        return 0
    for further in range(max(2, round(0.015 * count) + 1)):
        if depth + further < count:
            line = lines[depth + further]
            if np.mean(np.abs(line - grey) >= step.step) >= step.stepped:
                return depth + min(further, 1)
    return 0


def detect(chain: Chain, film: Film) -> dict[str, float]:
    """Give what each detector of the chain compares with its threshold, on an undamaged film."""
    values: dict[str, float] = {}
    square = shrink(film, (224, 224))
    for step in chain.steps:
        if isinstance(step, GrainRegression):
            values["noisy"] = step.regression.logit(grain_statistics(film))
        elif isinstance(step, EvenBorders):
            values["padded"] = float(max(widest_border(film, step)))
        elif isinstance(step, OddRegression):
            values["negative"] = float(np.array(step.weights) @ odd_statistics(square))
        elif isinstance(step, SharpIslands):
            values["patched"] = islands(square, step)
        elif isinstance(step, DarkTone):
            values["underexposed"] = step.regression.logit(tone_statistics(square))
        elif isinstance(step, BandRegression):
            values["blurred"] = step.regression.logit(band_statistics(square))
    return values
