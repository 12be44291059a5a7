"""Our Tables 1 and 2: the rows that report_rows.py trained, beside the report's numbers.

    python benchmarks/report_tables.py [--runs runs]

Takes every finished row; rows of the report's own backbones, which started from random weights, stand in a table
of their own, and so do those on the set without NIH. Writes results/report_rows.{json,md} and
results/study_rows.{json,md}; `real_films.py --only` takes them into docs/results.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from sklearn.metrics import f1_score

from cxrlens.evaluation import comparison as tables
from cxrlens.evaluation.comparison import Comparison, compare, published
from cxrlens.files import write_text
from cxrlens.main_job import evaluate
from cxrlens.reports.comparison import sections
from cxrlens.runs import Run
from record import RESULTS, keep, kept, markdown, stamp
from report_rows import BASELINES, NAMED_ROWS, ROWS, SECOND, STUDY, TOGETHER

GOALS = (0.9662, 0.9362)
"""Macro F1 and tuberculosis F1 of the report's best row."""

STUDY_GOALS = (0.975, 0.9362)
"""What is asked of ours on the set without NIH."""


def finished(names: list[str], folder: Path) -> list[Path]:
    places = [folder / "rows" / name for name in names]
    done = [place for place in places if (place / "predictions-test.csv").exists()]
    for place in done:
        if not (place / "metrics.json").exists():
            evaluate(Run(place))
    return done


def chosen(comparison: Comparison, goals: tuple[float, float]) -> str:
    """Name the row that the validation films choose, and hold it against the goals."""
    best = next(entry for entry in comparison.entries if entry.name == comparison.chosen)
    macro, tuberculosis = best.test.macro_f1, best.test.by_class["tuberculosis"].f1
    assert tuberculosis is not None
    words = [
        f"{name} {value:.4f} ({'reached' if value >= goal else 'missed'}: the goal is {goal})"
        for name, value, goal in zip(
            ("macro F1", "tuberculosis F1"), (macro, tuberculosis), goals, strict=True
        )
    ]
    return f"The validation films choose `{best.name}`: on the test films, {' and '.join(words)}."


def verdict(comparison: Comparison, folder: Path) -> str:
    films = Run(folder / "rows" / comparison.chosen).predictions("test")
    others = films[films["source"] != "nih"]
    rest = f1_score(others["label"], others["predicted"], average="macro")
    bound = films["predicted"].where(films["source"] == "nih", films["label"])
    most = f1_score(films["label"], bound, average="macro")
    return (
        f"{chosen(comparison, GOALS)} Without the {len(films) - len(others)} "
        f"films of NIH its macro F1 is {rest:.4f}; were every film but NIH's answered rightly, it would be {most:.4f}."
    )


def order(comparison: Comparison) -> str:
    """Say how our order stands to the report's, and which differences are more than chance."""
    place = {
        row["system"].replace("_", "-"): row["f1"]
        for row in published("overall").to_dict("records")
    }
    theirs = {
        entry.name: place[recipe]
        for entry in comparison.entries
        if (recipe := (ROWS.get(entry.name) or ("", ()))[0]) in place
    }
    ours = {entry.name: entry.test.macro_f1 for entry in comparison.entries if entry.name in theirs}
    ranked = [sorted(of, key=lambda name: -of[name]) for of in (theirs, ours)]
    pairs = tables.pairs(comparison)
    pairs = pairs[pairs["first"].isin(ours) & pairs["second"].isin(ours) & pairs["p_holm"].lt(0.05)]
    told = ", ".join(pairs["first"] + " from " + pairs["second"]) or "none"
    return (
        f"By macro F1 the report's order of these rows is {' > '.join(ranked[0])}; ours is {' > '.join(ranked[1])}. "
        f"Pairs that our test films tell apart (McNemar's mid-p, Holm, 5 %): {told}. The rest of the order is "
        "within chance, and the epochs are few: no claim about losses or heads follows from it. What all rows have in "
        "common weighs more: on NIH every row finds few of the pneumonia labels, of which a third of those that were read "
        "again is not opaque, so no model should be praised for learning them."
    )


def section(heading: str, table: pd.DataFrame) -> list[str]:
    return [f"### {heading}", markdown(table)]


def page(rows: Comparison, named: Comparison | None, missing: list[str], folder: Path) -> str:
    told = {part.heading: part.table for part in sections(rows)}
    parts = [
        f"Written by `benchmarks/report_tables.py` on {stamp(kept('report_rows')['machine'])}. The report-like set of "
        "seed 1, pairs reduced by the report's rule, one split by patient (64/16/20, stratified by class and source), 160 "
        "pixels where the name says no other; every row met the test films once. Rows named `lite0-…` are the report's rows on EfficientNet-Lite0 with "
        "ImageNet weights, its first half frozen, since no model hub could be reached; epochs are far fewer than the "
        "report's, because two shared cores are what there was. "
        "`lite0-augmented-224` and `lite0-ffn-voting` (all layers trained) are a second round, set after the first was "
        "seen, and `lite0-ffn-voting-224`, which has the changed films, the pixels and the votes, a third. The report's own numbers, of other films, are in "
        "`cxrlens compare --published`.",
        verdict(rows, folder),
        order(rows),
        *section("Table 1: overall", told["Overall"]),
        *section("Table 2: class by class", told["Class by class"]),
        *section("What ran", told["What they are"]),
        *section("How long", told["How long they were trained"]),
        *section("Errors by source", told["Errors by source"]),
        *section("Paired with the chosen row", told["On the same films"]),
    ]
    if missing:
        parts.append(f"Not trained yet: {', '.join(missing)}.")
    if named:
        theirs = {part.heading: part.table for part in sections(named)}
        parts += [
            "### The report's own backbones, from random weights",
            "No ImageNet weights of these could be had. They were trained for one epoch at 64 pixels (ResNet-50 and "
            "Inception-v3 at 96), only to show that each row works; their scores say nothing about the architectures.",
            markdown(theirs["Overall"]),
            markdown(theirs["What they are"]),
        ]
    return "\n\n".join(parts) + "\n"


def write_study(folder: Path) -> None:
    """Write the table of the rows on the set without NIH."""
    done = finished([*STUDY, *TOGETHER], folder)
    if not done:
        return
    rows = compare(done)
    told = {part.heading: part.table for part in sections(rows)}
    tabled = {"overall": tables.overall(rows), "per_class": tables.per_class(rows)}
    before, there = kept("study_rows"), {place.name for place in done}
    gone = [of for of in before.get("per_class", []) if of["run"] not in there]
    whole = [of for of in before.get("overall", []) if of["run"] not in there]
    keep(
        "study_rows",
        {
            name: table.astype(object).where(table.notna(), None).to_dict("records") + of_gone
            for (name, table), of_gone in zip(tabled.items(), (whole, gone), strict=True)
        },
    )
    tuberculosis = {of["run"]: of["f1"] for of in gone if of["class"] == "tuberculosis"}
    earlier = " ".join(
        f"Before these, `{of['run']}` had {of['macro_f1']:.4f} and {tuberculosis[of['run']]:.4f} "
        f"(validation {of['validation_macro_f1']:.4f}); its run is gone."
        for of in whole
    )
    parts = [
        f"Written by `benchmarks/report_tables.py` on {stamp(kept('study_rows')['machine'])}. A set of the study's shape "
        "(seed 1) from `kermany`, `qatar`, `mendeley`, `sakha` and `tbx11k`, since the study's own most likely held no NIH; "
        "pairs reduced by its rule, one split by patient (64/16/20). All are the recipe `lite0-ffn` "
        "with balance, changed films and one cycle, through the `robust` chain, for twelve epochs (five more where distilled); the validation "
        "films chose the epoch. `lite0-ffn-balanced` is as it ships, on films of 160 pixels; `lite2-ffn-milder-…` is on "
        "EfficientNet-Lite2 with milder changes and films of 192 or 224 pixels, of another seed, the mean of both, or both distilled into one (`benchmarks/report_rows.py`). The study's own best row, of other films: macro F1 0.9662, tuberculosis F1 0.9362.",
        f"{chosen(rows, STUDY_GOALS)} {earlier}".strip(),
        markdown(told["Overall"]),
        markdown(told["Class by class"]),
        markdown(told["How long they were trained"]),
        markdown(told["Errors by source"]),
    ]
    write_text(RESULTS / "study_rows.md", "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    folder = parser.parse_args().runs
    write_study(folder)
    wanted = [*ROWS, *SECOND, *BASELINES]
    done = finished(wanted, folder)
    if not done:
        raise SystemExit("no row on the set with NIH lies there: their tables stay as they are")
    rows = compare(done)
    own = finished(list(NAMED_ROWS), folder)
    named = compare(own) if own else None
    missing = [name for name in wanted if folder / "rows" / name not in done]
    tabled = {
        "overall": tables.overall(rows),
        "per_class": tables.per_class(rows),
        "made": tables.made(rows),
        "sources": tables.sources(rows),
    }
    keep(
        "report_rows",
        {
            name: table.astype(object).where(table.notna(), None).to_dict("records")
            for name, table in tabled.items()
        },
    )
    write_text(RESULTS / "report_rows.md", page(rows, named, missing, folder))
    print((RESULTS / "report_rows.md").read_text())
