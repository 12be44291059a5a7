"""Ask runs about places that they never saw: what is answered, how doubt ranks errors, what calibration is worth.

    python benchmarks/trust.py --run DIR [--run DIR ...] --films collection.csv [--cache DIR] [--most 600]

Each run names its left-out sources by having no film of theirs in its training. Of the other films that it did
not train on, half the patients (by a hash) fit the trust, and the rest judge it as "inside"; of NIH only the
opacities that radiologists confirmed count as pneumonia. At most `--most` films of a source and class are
asked. Nothing is written into the runs. Writes results/trust.json and results/trust.md.

Then each left-out place is calibrated as a site, 200 times over, on 200 of its films (60 where it has fewer
than 300): how often the sensitivity on the rest lies in the interval that beta-binomial draws around the wish.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import betabinom

from cxrlens.collections.cache import CachedFilms, cache_films
from cxrlens.collections.collection import read_collection
from cxrlens.evaluation.assess import abstention
from cxrlens.evaluation.calibrate import Wish, fit_site
from cxrlens.evaluation.measured import Abstention, Estimate
from cxrlens.files import write_text
from cxrlens.prediction.calibration import Measures
from cxrlens.prediction.predictor import Predictor
from cxrlens.prediction.trust import Trust, write_trust
from cxrlens.runs import Run
from cxrlens.training.trust import learn_trust
from record import RESULTS, keep, machine, markdown, stamp

DRAWS = 200
RESAMPLES = 500


def drawn(text: str) -> float:
    """Draw a number in [0, 1) that only the text decides."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def asked(films: pd.DataFrame, run: Run, most: int) -> pd.DataFrame:
    """Give films with a column split: train, validation (which fits), inside, and left.

    Films of training are those of the run's own table; a run that was trained elsewhere is known by name.
    """
    own = run.films()
    place = dict(zip(own["image"].map(name_of), own["split"], strict=True))
    split = films["image"].map(name_of).map(place)
    seen = set(films.loc[split == "train", "source"])
    fits = films["patient"].map(lambda of: drawn(f"fit:{of}") < 0.5)
    part = pd.Series(np.where(fits, "validation", "inside"), films.index)
    part = part.mask(split == "train", "train").mask(~films["source"].isin(seen), "left")
    confirmed = (films["source"] != "nih") | (films["label"] != "pneumonia")
    if "rsna_class" in films:
        confirmed |= films["rsna_class"].eq("Lung Opacity").fillna(False).astype(bool)
    found = films.assign(split=part)[confirmed | (part == "train")]
    order = found["image"].map(lambda image: drawn(f"some:{name_of(image)}"))
    rank = order.groupby([found["split"] == "train", found["source"], found["label"]]).rank()
    return found[rank <= most].reset_index(drop=True)


def name_of(image: str) -> str:
    """Name a film by its file and folder, which are the same wherever the set lies."""
    return "/".join(Path(image).parts[-3:])


def told(trust: Trust, films: Measures, rows: pd.DataFrame, refused: list[str]) -> pd.DataFrame:
    """Put what is said of films into the table that evaluation measures."""
    said = trust.answer(films, refused)
    table = rows[["image", "label", "patient", "source"]].assign(
        predicted=said.predicted, reason=said.reasons, suggests=said.suggests, doubt=said.doubt
    )
    table[list(trust.classes)] = said.probabilities
    return table


def calibrated(table: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, float]:
    """Brier skill over the place's own prevalence, and ECE, of probabilities weighed by that prevalence."""
    truth = (table["label"].to_numpy()[:, None] == np.array(classes)).astype(float)
    share = truth.mean(0)
    shares = table[list(classes)].to_numpy() * np.clip(share, 1e-9, 1)
    shares /= shares.sum(1, keepdims=True)
    sure, right = shares.max(1), truth[np.arange(len(truth)), shares.argmax(1)]
    bins = np.minimum((sure * 10).astype(int), 9)
    gaps = [abs(right[bins == b].sum() - sure[bins == b].sum()) for b in range(10)]
    chance = ((share - truth) ** 2).sum(1).mean()
    return {
        "brier": float(((shares - truth) ** 2).sum(1).mean()),
        "skill": float(1 - ((shares - truth) ** 2).sum(1).mean() / chance),
        "ece": float(np.sum(gaps) / len(truth)),
    }


def sites(trust: Trust, films: Measures, rows: pd.DataFrame) -> dict[str, Any]:
    """Calibrate a place again and again on some of its films, and ask the rest."""
    labels = rows["label"].map(trust.classes.index).to_numpy(np.int64)
    disease = int(np.bincount(labels, minlength=len(trust.classes))[1:].argmax()) + 1
    some = 200 if len(labels) >= 300 else 60
    random = np.random.default_rng(0)
    got, inside, answered, ratios, gaps = [], [], [], [], []
    for _ in range(DRAWS):
        order = random.permutation(len(labels))
        chosen, rest = order[:some], order[some:]
        if np.bincount(labels[chosen], minlength=len(trust.classes))[[0, disease]].min() < 5:
            continue
        site = fit_site(
            trust, "measured", films.of(chosen), labels[chosen], np.arange(some), Wish()
        )
        one = site.thresholds[trust.classes[disease]]
        ill = films.z[rest][labels[rest] == disease, disease - 1]
        hits = int((ill > site.numbers.thresholds[disease - 1]).sum())
        low, high = betabinom.ppf([0.025, 0.975], len(ill), one.films - one.missed, one.missed + 1)
        got.append(hits / len(ill))
        inside.append(low <= hits <= high)
        table = told(
            replace(trust, numbers=site.numbers),
            films.of(rest),
            rows.iloc[rest].reset_index(drop=True),
            [""] * len(rest),
        )
        left = abstention(table, trust.classes, resamples=0)
        assert left is not None
        answered.append(left.answered.value)
        ratios.append(left.ratio.value)
        gaps.append(max(left.by_class.values()) - min(left.by_class.values()))
    return {
        "films": some,
        "disease": trust.classes[disease],
        "draws": len(got),
        "sensitivity": [float(np.mean(got)), *map(float, np.quantile(got, [0.025, 0.975]))],
        "rest_inside_interval": float(np.mean(inside)),
        "answered": float(np.mean(answered)),
        "ratio": float(np.mean([one for one in ratios if one is not None])),
        "gap_of_classes": float(np.mean(gaps)),
    }


def ask(run: Run, films: pd.DataFrame, cache: Path | None, most: int) -> dict[str, Any]:
    """Fit and judge one run."""
    rows = asked(films, run, most)
    predictor = Predictor.of(run)
    predictor.trust = Trust(tuple(predictor.classes))
    cached: CachedFilms = cache_films(rows["image"].tolist(), predictor.chain, cache)
    trust = learn_trust(predictor, rows, cached)
    assert trust.numbers is not None
    inside_temperature = trust.numbers.temperature
    trust = predictor.trust = trust.cautious()
    assert trust.numbers is not None
    shipped = trust.numbers.temperature
    read = cached.rows >= 0
    judged: NDArray[np.bool_] = read & rows["split"].isin(["inside", "left"]).to_numpy()
    measured = predictor.measure_cached(cached.pixels, cached.rows[judged])
    refused = predictor.refused(cached.findings[judged].reset_index(drop=True))
    table = told(trust, measured, rows[judged].reset_index(drop=True), refused)
    rows = rows[judged].reset_index(drop=True)
    places = {"inside": (rows["split"] == "inside").to_numpy()}
    for source in sorted(set(rows.loc[rows["split"] == "left", "source"])):
        places[source] = (rows["source"] == source).to_numpy()
    found: dict[str, Any] = {}
    for place, chosen in places.items():
        part = table[chosen].reset_index(drop=True)
        if part["label"].nunique() < 2:
            continue
        left = abstention(part, trust.classes, RESAMPLES)
        assert left is not None
        found[place] = {"abstention": left.model_dump(mode="json")}
        found[place] |= {"calibration": calibrated(part, trust.classes)}
        if place != "inside":
            some = rows[chosen].reset_index(drop=True)
            found[place] |= {"site": sites(trust, measured.of(chosen), some)}
    return {
        "digest": run.digest,
        "recipe": run.recipe.name,
        "left_out": [place for place in found if place != "inside"],
        "offsets": trust.numbers.offsets,
        "temperature": [inside_temperature, shipped],
        "margin": trust.numbers.margin,
        "films_of_the_fit": trust.films,
        "bytes": size_of(trust),
        "places": found,
    }


def size_of(trust: Trust) -> int:
    """Bytes of the two files that a run keeps."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write_trust(Path(folder), "", trust.classes, trust)
        return sum(path.stat().st_size for path in Path(folder).iterdir())


def shown(one: dict[str, Any], digits: int = 2) -> str:
    """Write an estimate with its interval."""
    estimate = Estimate.model_validate(one)
    if estimate.value is None:
        return "–"
    text = f"{estimate.value:.{digits}f}"
    if estimate.interval:
        text += f" ({estimate.interval.low:.{digits}f}–{estimate.interval.high:.{digits}f})"
    return text


def write_table(runs: list[dict[str, Any]]) -> None:
    """Write results/trust.md."""
    answered, ranked, places = [], [], []
    for run in runs:
        for place, of in run["places"].items():
            left = Abstention.model_validate(of["abstention"])
            kept = of["abstention"]
            shares = left.by_class.values()
            name = {"run": run["recipe"], "place": place, "films": left.films}
            reasons = left.by_reason
            answered.append(
                name
                | {
                    "answered": shown(kept["answered"]),
                    "error answered": shown(kept["error"]),
                    "error forced": shown(kept["forced_error"]),
                    "ratio": shown(kept["ratio"]),
                    "gap of classes": f"{max(shares) - min(shares):.2f}",
                    "unlike": f"{reasons.get('unlike', 0) / left.films:.3f}",
                }
                | {
                    f"{disease}: forced, miss, referral": ", ".join(
                        f"{one.value:.2f}" if one.value is not None else "–"
                        for one in (of.forced, of.as_miss, of.as_referral)
                    )
                    for disease, of in left.diseases.items()
                }
            )
            ranked.append(
                name
                | {
                    "doubt": shown(kept["doubt"], 3),
                    "highest probability": shown(kept["likelihood"], 3),
                    "Brier skill": f"{of['calibration']['skill']:.2f}",
                    "ECE": f"{of['calibration']['ece']:.3f}",
                }
            )
            if "site" in of:
                site = of["site"]
                mean, low, high = site["sensitivity"]
                places.append(
                    {
                        "place": place,
                        "films": site["films"],
                        "disease": site["disease"],
                        "sensitivity on the rest": f"{mean:.3f} ({low:.3f}–{high:.3f})",
                        "within its interval": f"{site['rest_inside_interval']:.2f}",
                        "answered": f"{site['answered']:.2f}",
                        "ratio": f"{site['ratio']:.2f}",
                        "gap of classes": f"{site['gap_of_classes']:.2f}",
                    }
                )
    text = "\n\n".join(
        [
            "# When it does not know",
            "What is answered, and how often it is wrong. Intervals: bootstrap by patient.",
            markdown(pd.DataFrame(answered).fillna("–")),
            "Area under the ROC curve by which errors are told from the rest; Brier skill over the place's own "
            "prevalence, to which probabilities are weighed, and expected calibration error in ten bins.",
            markdown(pd.DataFrame(ranked)),
            f"Sites calibrated {DRAWS} times for a sensitivity of 0.9 on films of the place, judged on its rest; "
            "the interval is beta-binomial. Draws overlap: they are no independent trials.",
            markdown(pd.DataFrame(places)),
            stamp(machine()),
        ]
    )
    write_text(RESULTS / "trust.md", text + "\n")


def main() -> None:
    """Ask every run and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, action="append", required=True)
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--most", type=int, default=600)
    given = parser.parse_args()
    films = read_collection(given.films).films
    runs = []
    for path in given.run:
        runs.append(ask(Run(path), films, given.cache, given.most))
        keep("trust", {"runs": runs})
        write_table(runs)
        print(path, "asked", flush=True)


if __name__ == "__main__":
    main()
