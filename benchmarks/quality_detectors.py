"""How right the detectors of the chains are on films of sources that no calibration saw.

    python benchmarks/quality_detectors.py [--films N]

Every held-out film is stored once clean, half as it comes and half at another size, tone and JPEG
quality, and (all or the first N of a random order) damaged once by each kind of defect, noise and blur by two makers. The whole chain looks at
it, as shipped; the gate has `gate_measure.py`. Writes results/quality_detectors.json and .md, and docs/figures/quality-roc.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray

import quality_damage as damage
from cxrlens.quality import Chain
from cxrlens.radiographs import read_radiograph
from quality_films import CXR, HELD_OUT, RAW, clean_films
from quality_measure import auc, markdown, percent, plain, wilson, write_results

mpl.use("Agg")
import matplotlib.pyplot as plt

Film = NDArray[np.uint8]
SIZES = (224, 320, 450, 700)
CHECKED = ("negative", "noisy", "blurred", "underexposed", "padded", "patched")
SCRIPT_NOISES, OTHER_NOISES = list(damage.NOISES)[:3], list(damage.NOISES)[3:]
OTHER_BLURS = list(damage.BLURS)[1:]
COLOURS = {"robust": "#0072B2", "report": "#D55E00"}


def damaged(film: Film, number: int, only_clean: bool) -> list[tuple[dict[str, Any], Film, Film]]:
    """Give the truth, the film as stored and its undamaged self for each kind of damage."""
    rng = np.random.default_rng([77, number])
    side = int(SIZES[number % len(SIZES)])
    base = damage.sized(film, side, rng)
    as_it_comes = number % 2 == 0
    given: list[tuple[dict[str, Any], Film, Film]] = []

    def add(kind: str, maker: str, level: float, changed: Film) -> None:
        truth = {"kind": kind, "maker": maker, "level": level, "side": side}
        given.append((truth, damage.stored(changed, rng), base))

    if as_it_comes:
        given.append(({"kind": "clean", "maker": "", "level": 0.0, "side": 224}, film, film))
    else:
        add("clean", "", 0.0, damage.toned(base, rng))
    if only_clean:
        return given
    add("negative", "", 0.0, 255 - base)
    for names in (SCRIPT_NOISES, OTHER_NOISES):
        name = str(rng.choice(names))
        maker, levels = damage.NOISES[name]
        level = float(rng.choice(levels))
        add("noisy", name, level, maker(base, level, rng))
    for names in (["gaussian"], OTHER_BLURS):
        name = str(rng.choice(names))
        maker, levels = damage.BLURS[name]
        level = float(rng.choice(levels))
        add("blurred", name, level, maker(base, level, rng))
    name = str(rng.choice(list(damage.DARKENINGS)))
    maker, levels = damage.DARKENINGS[name]
    level = float(rng.choice(levels))
    if base.mean() > level + 10:
        add("underexposed", name, level, maker(base, level, rng))
    film_padded, sides = damage.padded(base, rng)
    add("padded", "black", 0.0, film_padded)
    given[-1][0]["borders"] = sides
    add("patched", "", 0.0, damage.patched(base, rng)[0])
    return given


def look(chains: dict[str, Chain], table: pd.DataFrame, count: int) -> pd.DataFrame:
    """Examine every film clean, and the first `count` in every damage, by every chain."""
    rows = []
    for number, film in enumerate(table.itertuples()):
        clean = read_radiograph(str(film.image))
        for truth, stored, base in damaged(clean, number, number >= count):
            for name, chain in chains.items():
                findings = chain.check(stored).findings
                row = {"film": number, "source": film.source, "chain": name, **truth}
                row |= {d: f.score for d, f in findings.items()}
                if truth["kind"] == "padded" and name == "robust":
                    row |= border_error(chain, stored, base, truth["borders"])
                rows.append(row)
    return pd.DataFrame(rows)


def border_error(
    chain: Chain, stored: Film, base: Film, true: tuple[int, int, int, int]
) -> dict[str, Any]:
    """Compare the borders found with those added, in shares of the side; the worst of four."""
    (step,) = (step for step in chain.native if step.defect == "padded")
    before = step.repair(damage_free(chain, base))
    own = before.shape != base.shape
    found = step.borders(damage_free(chain, stored))  # type: ignore[attr-defined]
    height, width = stored.shape
    gaps = [
        abs(f - t) / k for f, t, k in zip(found, true, (height, height, width, width), strict=True)
    ]
    return {"own_borders": own, "border_error": max(gaps)}


def damage_free(chain: Chain, film: Film) -> Film:
    """Give the film as the border step sees it, after the noise step."""
    (noise,) = (step for step in chain.native if step.defect == "noisy")
    return noise.repair(film) if noise.detect(film).present else film


def figures(rows: pd.DataFrame) -> tuple[dict[str, Any], str]:
    """Compute AUC, sensitivity and false alarms by chain and defect, then by maker, level, size."""
    document: dict[str, Any] = {}
    overall, detailed = [], []
    for defect in CHECKED:
        for chain in ("report", "robust"):
            if defect not in rows or rows.loc[rows["chain"] == chain, defect].isna().all():
                continue
            mine = rows[rows["chain"] == chain]
            clean = mine.loc[mine["kind"] == "clean", defect].to_numpy()
            hit = mine[mine["kind"] == defect]
            area = auc(clean, hit[defect].to_numpy())
            found = wilson(int((hit[defect] > 0.5).sum()), len(hit))
            alarms = wilson(int((clean > 0.5).sum()), len(clean))
            document[f"{chain}/{defect}"] = {
                "auc": area,
                "sensitivity": found,
                "false_alarms": alarms,
                "damaged": len(hit),
                "clean": len(clean),
            }
            overall.append(
                (defect, chain, plain(area), percent(found), percent(alarms), len(hit), len(clean))
            )
            for (maker, level), part in hit.groupby(["maker", "level"]):
                share = wilson(int((part[defect] > 0.5).sum()), len(part))
                cell = plain(auc(clean, part[defect].to_numpy())), percent(share, 1)
                detailed.append((defect, chain, maker, f"{level:g}", "all", *cell, len(part)))
            for side, part in hit.groupby("side"):
                share = wilson(int((part[defect] > 0.5).sum()), len(part))
                cell = plain(auc(clean, part[defect].to_numpy())), percent(share, 1)
                detailed.append((defect, chain, "all", "all", side, *cell, len(part)))
    by_source = []
    for (chain, source), part in rows[rows["kind"] == "clean"].groupby(["chain", "source"]):
        for defect in (*CHECKED, "not_a_chest"):
            if not part[defect].isna().all():
                share = wilson(int((part[defect] > 0.5).sum()), len(part))
                by_source.append((defect, chain, source, percent(share), len(part)))
    document["detailed"] = detailed
    document["false_alarms_by_source"] = by_source
    text = "### All levels, makers and sizes together\n\n" + markdown(
        (
            "defect",
            "chain",
            "AUC (95 %)",
            "sensitivity, % (95 %)",
            "false alarms, % (95 %)",
            "damaged",
            "clean",
        ),
        overall,
    )
    text += "\n### False alarms on clean films, by source\n\n" + markdown(
        ("defect", "chain", "source", "false alarms, % (95 %)", "films"), sorted(by_source)
    )
    text += "\n### By maker and level, and by the size at which it was stored\n\n" + markdown(
        (
            "defect",
            "chain",
            "maker",
            "level",
            "size",
            "AUC (95 %)",
            "sensitivity, % (95 %)",
            "films",
        ),
        detailed,
    )
    return document, text


def borders(rows: pd.DataFrame) -> tuple[dict[str, Any], str]:
    """Say how near the found borders are to the added ones."""
    part = rows[rows["border_error"].notna()]
    alone = part[part["own_borders"].eq(False)]
    near = wilson(int((alone["border_error"] <= 0.02).sum()), len(alone))
    document = {
        "within_2_percent": near,
        "films": len(alone),
        "films_with_own_borders": len(part) - len(alone),
        "error_quantiles_50_90_95_99": alone["border_error"]
        .quantile([0.5, 0.9, 0.95, 0.99])
        .tolist(),
    }
    text = (
        f"\n### Borders\n\nAll four borders within 2 % of the side: {percent(near)} % of {len(alone)} "
        f"films that had no border of their own ({len(part) - len(alone)} had one).\n"
    )
    return document, text


def originals(chains: dict[str, Chain]) -> tuple[dict[str, Any], str]:
    """Count findings on the untouched originals of sources that the calibration never saw."""
    raw = pd.read_csv(RAW / "raw.csv")
    raw = raw[raw["source"].isin(HELD_OUT)]
    rows, document = [], {}
    for name, chain in chains.items():
        found = [chain.check(read_radiograph(RAW / p)).findings for p in raw["image"]]
        for defect in found[0]:
            hits = [f"{s}" for s, f in zip(raw["source"], found, strict=True) if f[defect].present]
            document[f"{name}/{defect}"] = hits
            told = ", ".join(f"{hits.count(s)} {s}" for s in sorted(set(hits))) or "none"
            rows.append((defect, name, told, len(raw)))
    text = "\n### Findings on untouched originals of the held-out sources\n\n"
    return document, text + markdown(("defect", "chain", "films flagged", "of"), rows)


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Draw the ROC curves of both chains."""
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
    for axis, defect in zip(axes.flat, CHECKED, strict=True):
        for chain, colour in COLOURS.items():
            mine = rows[(rows["chain"] == chain) & rows["kind"].isin(["clean", defect])]
            if defect not in mine or mine[defect].isna().all():
                continue
            clean = np.sort(mine.loc[mine["kind"] == "clean", defect].to_numpy())
            hit = np.sort(mine.loc[mine["kind"] == defect, defect].to_numpy())
            at = np.unique(np.r_[clean, hit, -1.0, 1.1])
            x = 1 - np.searchsorted(clean, at, "right") / len(clean)
            y = 1 - np.searchsorted(hit, at, "right") / len(hit)
            axis.plot(
                100 * x, 100 * y, color=colour, label=chain, ls="-" if chain == "robust" else "--"
            )
            axis.plot(100 * np.mean(clean > 0.5), 100 * np.mean(hit > 0.5), "o", color=colour, ms=5)
        axis.set(title=defect, xlim=(-0.5, 30), ylim=(0, 101))
        axis.legend(loc="lower right", frameon=False)
    figure.supxlabel("false alarms on clean films, %")
    figure.supylabel("damaged films found, %")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, help="held-out films to damage; all if not given")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    assert CXR.exists()
    chains = {name: Chain.named(name) for name in ("report", "robust")}
    table = clean_films(HELD_OUT, seed=1)
    rows = look(chains, table, options.films or len(table))
    draw(rows, Path(__file__).parents[1] / "docs/figures/quality-roc.png")
    document, text = figures(rows)
    quoted = text[: text.index("\n### By maker")]
    edges, more = borders(rows)
    text, quoted = text + more, quoted + more
    unseen, more = originals(chains)
    text, quoted = text + more, quoted + more
    told = {name: chain.version for name, chain in chains.items()}
    everything = {
        "versions": told,
        "held_out": HELD_OUT,
        "detectors": document,
        "borders": edges,
        "originals": unseen,
    }
    write_results("quality_detectors", everything, text, quoted)


if __name__ == "__main__":
    main()
