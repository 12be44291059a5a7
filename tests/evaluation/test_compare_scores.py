from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxrlens.errors import CollectionError, OutputError, RunError
from cxrlens.evaluation.against_normal import disease_score
from cxrlens.evaluation.comparison import compare, compare_scores
from cxrlens.evaluation.paired import compare_diseases
from cxrlens.evaluation.tables import paired, paired_text
from cxrlens.reports.comparison import SCORED_FILES, write_comparison, write_scored

from .drawn_predictions import CLASSES, draw

QUICK = 200


def noisy(table, spread, seed=0):
    """The same films, scored worse."""
    random = np.random.default_rng(seed)
    scores = table[list(CLASSES)] * np.exp(random.normal(0, spread, (len(table), 3)))
    return table.assign(**scores.div(scores.sum(axis=1), axis=0))


def written(table, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return path


def test_differences_are_those_of_the_two_aucs_in_every_place():
    first = draw(decimals=6)
    second = noisy(first, 1.0)
    found = compare_diseases(first, second, CLASSES, resamples=QUICK)
    assert [(one.disease, one.source) for one in found] == [
        (disease, source)
        for disease in ("pneumonia", "tuberculosis")
        for source in (None, "here", "there")
    ]
    for one in found:
        rows = first["label"].isin(["normal", one.disease])
        rows &= first["source"].eq(one.source) if one.source else True
        expected = [
            roc_auc_score(part["label"] == one.disease, disease_score(part, one.disease))
            for part in (first[rows], second[rows])
        ]
        assert [one.first, one.second] == pytest.approx(expected)
        assert one.difference.value == pytest.approx(expected[0] - expected[1])
        low, high = one.difference.interval.low, one.difference.interval.high
        assert low < one.difference.value < high


@pytest.mark.slow
def test_the_interval_is_that_of_drawn_patients_with_all_their_films():
    first = draw(films=90, patients=30, decimals=6)
    second = noisy(first, 1.5)
    one = compare_diseases(first, second, ["normal", "tuberculosis"], resamples=3000)[0]
    films = first[first["label"].isin(["normal", "tuberculosis"])]
    rows = {name: part.index for name, part in films.groupby("patient")}
    random = np.random.default_rng(3)
    drawn = []
    for _ in range(1500):
        picked = np.concatenate([rows[name] for name in random.choice(list(rows), len(rows))])
        ill = first.loc[picked, "label"] == "tuberculosis"
        if ill.nunique() == 2:
            aucs = [
                roc_auc_score(ill, disease_score(table.loc[picked], "tuberculosis"))
                for table in (first, second)
            ]
            drawn.append(aucs[0] - aucs[1])
    assert [one.difference.interval.low, one.difference.interval.high] == pytest.approx(
        np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.02
    )


def test_a_model_is_as_good_as_itself():
    table = draw(decimals=6)
    for one in compare_diseases(table, table, CLASSES, resamples=QUICK):
        assert (one.difference.value, one.difference.p) == (0, 1)


def test_tables_are_compared_on_the_films_that_both_score(tmp_path):
    table = draw(decimals=6)
    shuffled = noisy(table, 2.0).iloc[60:].sample(frac=1, random_state=0)
    first = written(table, tmp_path / "first.csv")
    second = written(
        shuffled[["image", "label", "tuberculosis", "normal"]], tmp_path / "second.csv"
    )
    found = compare_scores([first, second], resamples=QUICK)
    (pair,) = found.pairs
    assert (pair.common, pair.relabelled, pair.whole) == (240, 0, False)
    assert {one.disease for one in pair.diseases} == {"tuberculosis"}
    part = table.iloc[60:].reset_index(drop=True)
    same = compare_diseases(
        part, noisy(table, 2.0).iloc[60:].reset_index(drop=True), ["normal", "tuberculosis"], QUICK
    )
    assert [one.first for one in pair.diseases] == pytest.approx([one.first for one in same])
    assert [one.second for one in pair.diseases] == pytest.approx([one.second for one in same])
    assert "first and second share 240 test films" in found.cautions()[0]


def test_a_film_is_known_by_its_name_where_the_tables_lie_apart(tmp_path):
    table = draw()
    first, second = (written(table, tmp_path / name / f"{name}.csv") for name in ("a", "b"))
    assert compare_scores([first, second], resamples=QUICK).pairs[0].whole


def test_rows_of_one_film_are_named(make_run, tmp_path):
    table = draw()
    (tmp_path / "film-0.png").touch()
    (tmp_path / "link.png").symlink_to("film-0.png")
    for other in ("link.png", "./film-0.png", str(tmp_path / "film-0.png")):
        twice = pd.concat([table, table.iloc[[0]].assign(image=other)])
        path = written(twice, tmp_path / "twice.csv")
        with pytest.raises(CollectionError, match=r"twice\.csv, rows 2 and 302 name one file"):
            compare_scores([written(table, tmp_path / "a.csv"), path], resamples=QUICK)
    run = make_run("good", skill=1.9)
    films = run.predictions("test")
    link = Path(films["image"][0]).with_name("other-name.png")
    link.symlink_to(films["image"][0])
    films.loc[1, "image"] = str(link)
    run.write_predictions("test", films)
    with pytest.raises(CollectionError, match=r"predictions-test\.csv, rows 2 and 3 name one file"):
        compare([run.path, make_run("poor", skill=1.1).path], resamples=QUICK)


def test_a_film_of_two_labels_is_left_out(tmp_path):
    table = draw()
    other = table.assign(label=table["label"].mask(table.index == 0, "normal"))
    other.loc[0, "label"] = "normal" if table.loc[0, "label"] != "normal" else "pneumonia"
    paths = [written(table, tmp_path / "a.csv"), written(other, tmp_path / "b.csv")]
    (pair,) = compare_scores(paths, resamples=QUICK).pairs
    assert (pair.common, pair.relabelled) == (299, 1)


def test_a_run_stands_for_its_test_films(make_run, tmp_path):
    run = make_run("good", skill=1.9)
    table = noisy(run.predictions("test"), 1.0)
    found = compare_scores([run.path, written(table, tmp_path / "theirs.csv")], resamples=QUICK)
    assert found.pairs[0].whole
    assert list(found.scores) == ["good", "theirs"]


def test_what_evaluate_wrote_is_called_by_its_folder_and_learnt_films_are_left_out(tmp_path):
    table = draw().assign(split=["train", "validation", "test"] * 100)
    for name, spread in (("old", 0.0), ("new", 1.0)):
        written(noisy(table, spread), tmp_path / name / "predictions.csv")
    found = compare_scores([tmp_path / "old", tmp_path / "new"], resamples=QUICK)
    assert list(found.scores) == ["old", "new"]
    assert found.pairs[0].common == 100


def test_everything_is_written_and_nothing_replaced_unasked(tmp_path):
    paths = [
        written(noisy(draw(), spread), tmp_path / f"{name}.csv")
        for name, spread in (("a", 0.1), ("b", 0.5), ("c", 1.0))
    ]
    found = compare_scores(paths, resamples=QUICK)
    page = write_scored(found, tmp_path / "out")
    assert sorted(path.name for path in page.parent.iterdir()) == sorted(SCORED_FILES)
    pairs = pd.read_csv(tmp_path / "out" / "pairs.csv")
    assert len(pairs) == 3 * 2 * 3
    assert (pairs["p_holm"] >= pairs["p"]).all()
    assert "a − b" in page.read_text()
    with pytest.raises(OutputError, match="exists already"):
        write_scored(found, tmp_path / "out")


def test_tables_that_cannot_be_compared(make_run, tmp_path):
    table = draw()
    first = written(table, tmp_path / "a.csv")
    with pytest.raises(RunError, match="two of them are called a"):
        compare_scores([first, written(table, tmp_path / "x" / "a.csv")], resamples=QUICK)
    other = table.assign(image=[f"other-{n}.png" for n in range(300)])
    with pytest.raises(CollectionError, match="have no film in common"):
        compare_scores([first, written(other, tmp_path / "b.csv")], resamples=QUICK)
    tb = written(table.drop(columns="pneumonia"), tmp_path / "tb.csv")
    cap = written(table.drop(columns="tuberculosis"), tmp_path / "cap.csv")
    with pytest.raises(CollectionError, match="score no disease in common"):
        compare_scores([tb, cap], resamples=QUICK)
    run = make_run("cut")
    (run.path / "predictions-test.csv").unlink()
    with pytest.raises(RunError, match="not finished"):
        compare_scores([run.path, first], resamples=QUICK)


def test_runs_are_paired_within_each_source_too(make_run, tmp_path):
    runs = [make_run("good", skill=1.9), make_run("poor-one", skill=1.1)]
    second = noisy(runs[1].predictions("test"), 1.0)
    runs[1].write_predictions("test", second)
    found = compare([run.path for run in runs], resamples=QUICK)
    table = paired(found.pairs)
    assert set(table["source"]) == {"all films", "here", "there"}
    assert len(paired_text(table)) == 6
    write_comparison(found, tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out" / "disease-pairs.csv")) == 6
    assert "Each disease against normal" in (tmp_path / "out" / "comparison.md").read_text()
