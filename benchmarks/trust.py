"""Ask runs about places that they never saw: what is answered, how doubt ranks errors, what calibration is worth.

    python benchmarks/trust.py --run DIR [--run DIR ...] --films collection.csv [--cache DIR] [--most 600]
        [--work DIR] [--try]

Each run is exported, since a graph answers several times faster than torch, and asked once: with `--work` what it
answered stays in DIR, and everything else is computed from that. It names its left-out sources by having no film of
theirs in its training. Of the other films that it did not train on, half
the patients (by a hash) fit the trust, and the rest judge it as "inside"; of NIH only the opacities that
radiologists confirmed count as pneumonia. At most `--most` films of a source and class are asked, of training 120. Nothing is
written into the runs. Writes results/trust.json and results/trust.md, where other runs' rows stay, and the ledger
of looks.

Then each left-out place is calibrated as a site, 200 times over, on 200 of its films (60 where it has fewer
than 300): how often the sensitivity on the rest lies in the interval that beta-binomial draws around the wish.

`--try` holds other rules of abstention against the one in use: `RULES`, and a logistic
regression of their measures on the errors at the other left-out places.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import betabinom
from sklearn.linear_model import LogisticRegression

from cxrlens.collections.cache import CachedFilms, cache_films
from cxrlens.collections.collection import read_collection
from cxrlens.evaluation.assess import abstention
from cxrlens.evaluation.calibrate import Wish, fit_site
from cxrlens.evaluation.intervals import drawn_weights, percentiles, weighted_auc
from cxrlens.evaluation.measured import Abstention, Estimate
from cxrlens.export.bundle import export
from cxrlens.files import write_text
from cxrlens.prediction.calibration import Measures, lead, odds, ranks
from cxrlens.prediction.decision import Outputs
from cxrlens.prediction.predictor import Predictor
from cxrlens.prediction.trust import Trust, write_trust
from cxrlens.runs import Run
from cxrlens.training.trust import learn_trust
from looks import looked
from record import RESULTS, keep, kept, machine, markdown, stamp

DRAWS = 200
LEARNT = 120
"""Films of training that are asked of each class of each source."""
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
    for salt, cap, cells in (
        ("some", most, [found["split"] == "train", found["source"], found["label"]]),
        ("few", LEARNT, [found["split"], found["source"], found["label"]]),
    ):
        order = found["image"].map(lambda image, salt=salt: drawn(f"{salt}:{name_of(image)}"))
        kept_films = order.groupby([of[found.index] for of in cells]).rank() <= cap
        found = found[kept_films | (salt == "few") & (found["split"] != "train")]
    return found.reset_index(drop=True)


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


@dataclass(frozen=True)
class Answered:
    """A network that was asked already: films are given by their numbers."""

    outputs: Outputs
    side: int = 0
    gives: frozenset[str] = frozenset({"map"})

    def run(self, films: NDArray[Any]) -> Outputs:
        """Give the answers again."""
        (scores,), maps, features = self.outputs
        assert maps is not None
        assert features is not None
        return Outputs([scores[films]], maps[films].astype(np.float32), features[films])


def answered(
    run: Run, films: pd.DataFrame, cache: Path | None, most: int, place: Path
) -> tuple[pd.DataFrame, pd.DataFrame, Answered, Answered]:
    """Ask a run once, films as they are and, those that it did not learn from, mirrored."""
    kept_at = place / f"{run.path.name}-{run.digest}"
    table, found, arrays = (kept_at.with_suffix(of) for of in (".csv", ".findings.csv", ".npz"))
    if not arrays.is_file():
        rows = asked(films, run, most)
        graph = export(run.path, place / f"{kept_at.name}-bundle", force=True).path
        network, chain = Predictor.load(graph).network, run.chain()
        cached: CachedFilms = cache_films(rows["image"].tolist(), chain, cache)
        read = cached.rows >= 0
        rows, findings = (of[read].reset_index(drop=True) for of in (rows, cached.findings))
        pixels = cached.pixels[cached.rows[read]]
        held = (rows["split"] != "train").to_numpy()

        def all_of(part: NDArray[np.uint8]) -> list[Outputs]:
            return [
                network.run(np.ascontiguousarray(part[i : i + 4])) for i in range(0, len(part), 4)
            ]

        own, turned = all_of(pixels), all_of(pixels[held][:, :, ::-1])
        np.savez(
            arrays,
            scores=np.concatenate([of.scores[0] for of in own]),
            map=np.concatenate([of.map for of in own if of.map is not None]).astype(np.float16),
            features=np.concatenate([of.features for of in own if of.features is not None]),
            mirrored=np.concatenate([of.scores[0] for of in turned]),
        )
        rows.to_csv(table, index=False)
        findings.to_csv(found, index=False)
    rows, findings = pd.read_csv(table, dtype={"patient": str}), pd.read_csv(found)
    with np.load(arrays) as of:
        own = Outputs([of["scores"]], of["map"], of["features"])
        mirrored = np.array(of["scores"])
        mirrored[(rows["split"] != "train").to_numpy()] = of["mirrored"]
    return rows, findings, Answered(own), Answered(own._replace(scores=[mirrored]))


@dataclass(frozen=True)
class Asked:
    """What rules of abstention decide by, of films of one place: (N,) each.

    Attributes
    ----------
    named, wrong
        The class that would be named, and whether it is the wrong one.
    open
        Whether the film is answered as far as the gate, its quality and its features go.
    ahead, both
        Lead of the named class over the next one, and the mean of that and the mirrored film's.
    far
        The map's relative distance.
    rows
        Labels and patients.
    """

    named: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    open: NDArray[np.bool_]
    ahead: NDArray[np.float64]
    both: NDArray[np.float64]
    far: NDArray[np.float64]
    rows: pd.DataFrame

    @classmethod
    def of(
        cls,
        trust: Trust,
        films: Measures,
        mirrored: Measures,
        refused: list[str],
        rows: pd.DataFrame,
    ) -> Asked:
        """Take it from what the network says of films, as they are and mirrored."""
        numbers = trust.numbers
        assert numbers is not None
        assert numbers.most_residual is not None
        assert films.residual is not None
        assert films.relative is not None
        thresholds = np.array(numbers.thresholds)
        against, other = odds(films.z, thresholds), odds(mirrored.z, thresholds)
        named = against.argmax(1)
        spared = (films.residual <= numbers.most_residual) & (np.array(refused) == "")
        return cls(
            named,
            named != rows["label"].map(trust.classes.index).to_numpy(),
            spared,
            lead(against, named),
            lead((against + other) / 2, named),
            films.relative,
            rows,
        )

    def chosen(self, films: NDArray[np.bool_]) -> Asked:
        """Keep some films."""
        parts = [getattr(self, name)[films] for name in ("named", "wrong", "open", "ahead")]
        rows = self.rows[films].reset_index(drop=True)
        return Asked(*parts, self.both[films], self.far[films], rows)

    def ranked(self, fit: Asked) -> NDArray[np.float64]:
        """Rank nearness, nearness of both sides, and distance among the films of the fit: (N, 3)."""
        steps = np.linspace(0, 1, 101)
        pairs = [(-self.ahead, -fit.ahead), (-self.both, -fit.both), (self.far, fit.far)]
        return np.stack([ranks(own, list(np.quantile(of, steps))) for own, of in pairs], axis=1)


def apart(near: float, far: float, side: str = "ahead") -> Rule:
    """Be unsure where a share of the fit is nearer to the threshold, or a share further away."""

    def answers(it: Asked, fit: Asked) -> NDArray[np.bool_]:
        least = np.quantile(getattr(fit, side), near)
        return (getattr(it, side) >= least) & (it.far <= np.quantile(fit.far, 1 - far))

    return answers


def by_class(near: float) -> Rule:
    """Be unsure where the same share of the fit's films of each named class is nearer."""

    def answers(it: Asked, fit: Asked) -> NDArray[np.bool_]:
        least = np.array([np.quantile(fit.ahead[fit.named == c], near) for c in range(3)])
        return (it.ahead >= least[it.named]) & (it.far <= np.quantile(fit.far, 0.99))

    return answers


def summed(share: float) -> Rule:
    """Be unsure where the sum of both ranks is above that of all but a share of the fit."""

    def answers(it: Asked, fit: Asked) -> NDArray[np.bool_]:
        own, of = (one.ranked(fit)[:, [0, 2]].sum(1) for one in (it, fit))
        return own <= np.quantile(of, 1 - share)

    return answers


Rule = Callable[[Asked, Asked], NDArray[np.bool_]]
USED = "margin 7 %, map 1 % (in use)"
RULES = {
    USED: apart(0.07, 0.01),
    "margin 9 %, map 1 %": apart(0.09, 0.01),
    "margin 7 % of each class named, map 1 %": by_class(0.07),
    "margin 5 %, map 5 %": apart(0.05, 0.05),
    "margin 6 %, map 5 %": apart(0.06, 0.05),
    "margin 4 %, map 8 %": apart(0.04, 0.08),
    "margin of both sides 5 %, map 5 %": apart(0.05, 0.05, "both"),
    "sum of both ranks 9 %": summed(0.09),
}
"""By name: which share of the films of the fit lies nearer to the threshold, and which further from every class by
its map. Of a film that is not answered for another reason none decides."""


def outcome(answered: NDArray[np.bool_], used: NDArray[np.bool_], it: Asked) -> dict[str, Any]:
    """Measure a rule at a place, and the difference of its ratio of errors to that of the rule in use."""
    weights = np.concatenate(
        [np.ones((1, len(it.wrong))), *drawn_weights(it.rows, RESAMPLES, 0)[1]]
    )

    def ratio(of: NDArray[np.bool_]) -> NDArray[np.float64]:
        among = (weights @ (of & it.wrong)) / np.maximum(weights @ of, 1)
        return among / ((weights @ it.wrong) / weights.sum(1))

    own, less = ratio(answered), ratio(answered) - ratio(used)
    labels = it.rows["label"].to_numpy()
    shares = [float(answered[labels == name].mean()) for name in np.unique(labels)]
    found = {"answered": float(answered.mean()), "gap": max(shares) - min(shares)}
    for name, values in (("ratio", own), ("less", less)):
        span = percentiles(values[1:], 0.95)
        assert span is not None
        found |= {name: [float(values[0]), span.low, span.high]}
    return found


def learnt_elsewhere(
    places: dict[str, tuple[Asked, Asked]], here: str, inside: tuple[Asked, Asked]
) -> dict[str, Any]:
    """Rank a place's errors by a logistic regression of the ranks, learnt from errors at the other places."""
    others = [of for name, of in places.items() if name.split()[0] != here.split()[0]]
    x = np.concatenate([it.ranked(fit) for it, fit in others])
    weight = np.concatenate([np.full(len(it.wrong), 1 / len(it.wrong)) for it, _ in others])
    model = LogisticRegression().fit(
        x, np.concatenate([it.wrong for it, _ in others]), weight * len(x) / weight.sum()
    )
    it, fit = places[here]
    doubt, of = (model.decision_function(one.ranked(fit)) for one in (it, fit))
    alone, known = it.ranked(fit)[:, 0], np.ones((1, len(doubt)))
    inner = model.decision_function(inside[0].ranked(fit)) <= np.quantile(of, 0.91)
    return outcome(
        it.open & (doubt <= np.quantile(of, 0.91)), it.open & RULES[USED](it, fit), it
    ) | {
        "inside": float((inner & inside[0].open).mean()),
        "auc": float(weighted_auc(known, it.wrong, doubt)[0]),
        "auc of the margin": float(weighted_auc(known, it.wrong, alone)[0]),
    }


def held_against(runs: list[dict[str, tuple[Asked, Asked]]]) -> list[dict[str, Any]]:
    """Hold the rules, and what is learnt from other places, against the rule in use, place by place."""
    rows = []
    left = {
        f"{name} ({number})": of
        for number, run in enumerate(runs, 1)
        for name, of in run.items()
        if name != "inside"
    }
    for number, run in enumerate(runs, 1):
        for place, (it, fit) in run.items():
            used = it.open & RULES[USED](it, fit)
            name = f"{place} ({number})"
            common = {"place": name, "films": len(it.wrong), "forced": float(it.wrong.mean())}
            for rule, answers in RULES.items():
                rows.append(common | {"rule": rule} | outcome(it.open & answers(it, fit), used, it))
            if place != "inside" and len({one.split()[0] for one in left}) > 1:
                learnt = learnt_elsewhere(left, name, run["inside"])
                rows.append(common | {"rule": "logistic of other places, 9 %"} | learnt)
    return rows


def ask(
    run: Run, films: pd.DataFrame, cache: Path | None, most: int, place: Path
) -> tuple[dict[str, Any], dict[str, tuple[Asked, Asked]]]:
    """Fit and judge one run; give what rules are tried on, too, by place, beside the films of the fit."""
    rows, findings, network, mirrored = answered(run, films, cache, most, place)
    predictor = Predictor.of(run)
    predictor.network = network
    predictor.trust = Trust(tuple(predictor.classes))
    numbers = np.arange(len(rows))
    trust = learn_trust(predictor, rows, CachedFilms(numbers, numbers, findings, {}))
    assert trust.numbers is not None
    inside_temperature = trust.numbers.temperature
    trust = predictor.trust = trust.cautious()
    assert trust.numbers is not None
    shipped = trust.numbers.temperature

    def measured(part: NDArray[np.bool_], by: Answered) -> Measures:
        predictor.network = by
        return predictor.measure_cached(numbers, numbers[part])

    def of_rules(part: NDArray[np.bool_]) -> Asked:
        own, turned = measured(part, network), measured(part, mirrored)
        refused = predictor.refused(findings[part].reset_index(drop=True))
        return Asked.of(trust, own, turned, refused, rows[part].reset_index(drop=True))

    of_fit = of_rules(rows["split"].eq("validation").to_numpy())
    judged: NDArray[np.bool_] = rows["split"].isin(["inside", "left"]).to_numpy()
    of_judged, measures = of_rules(judged), measured(judged, network)
    refused = predictor.refused(findings[judged].reset_index(drop=True))
    rows = rows[judged].reset_index(drop=True)
    table = told(trust, measures, rows, refused)
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
            found[place] |= {"site": sites(trust, measures.of(chosen), some)}
    tried = {name: (of_judged.chosen(places[name]), of_fit) for name in found}
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
    }, tried


def size_of(trust: Trust) -> int:
    """Bytes of the two files that a run keeps."""
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


def rules_table(tried: list[dict[str, Any]]) -> str:
    """Write what other rules would give."""

    def spanned(of: list[float], sign: str = "") -> str:
        value, low, high = (f"{one:{sign}.2f}" for one in of)
        return f"{value} ({low} to {high})"

    rows = [
        {
            "place (run)": of["place"],
            "rule": of["rule"],
            "answered": f"{of['answered']:.2f}",
            "ratio": spanned(of["ratio"]),
            "less than in use": spanned(of["less"], "+") if of["rule"] != USED else "",
            "gap of classes": f"{of['gap']:.2f}",
        }
        for of in tried
    ]
    return markdown(pd.DataFrame(rows))


def write_table(runs: list[dict[str, Any]], tried: list[dict[str, Any]]) -> None:
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
            *(
                [
                    "Other rules of abstention: shares of the films of the fit that lie nearer to the threshold, or whose map "
                    "lies further from every class; the logistic regression learns from the errors at the other places. "
                    "Intervals: bootstrap by patient, the difference paired. Runs are numbered in one call, which may be older than the rest.",
                    rules_table(tried),
                ]
                if tried
                else []
            ),
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
    parser.add_argument("--work", type=Path)
    parser.add_argument("--try", dest="rules", action="store_true")
    given = parser.parse_args()
    films = read_collection(given.films).films
    before = kept("trust")
    runs, tried, for_rules = before.get("runs", []), before.get("tried", []), []
    for path in given.run:
        with tempfile.TemporaryDirectory() as folder:
            place = given.work or Path(folder)
            found, of_rules = ask(Run(path), films, given.cache, given.most, place)
        runs = [of for of in runs if of["digest"] != found["digest"]] + [found]
        if given.rules:
            for_rules.append(of_rules)
            tried = held_against(for_rules)
        there = {name: found["places"][name]["abstention"] for name in found["left_out"]}
        seen = {name: of["ratio"]["value"] for name, of in there.items()}
        looked(path.name, found["left_out"], "trust.py", seen)
        keep("trust", {"runs": runs, "tried": tried})
        write_table(runs, tried)
        print(path, "asked", flush=True)


if __name__ == "__main__":
    main()
