import os

import pandas as pd
import pytest

from cxrlens.errors import OutputError, RunError
from cxrlens.evaluation import comparison as tables
from cxrlens.evaluation.comparison import CAUTION, compare
from cxrlens.evaluation.metrics import measure
from cxrlens.evaluation.paired import compare_paired
from cxrlens.reports.comparison import (
    FILES,
    as_markdown,
    as_page,
    markdown,
    sections,
    write_comparison,
)

QUICK = 100


@pytest.fixture
def good(make_run):
    return make_run("good", skill=1.9)


@pytest.fixture
def poor(make_run):
    return make_run("poor-one", skill=1.1)


def test_figures_are_those_of_each_run(good, poor):
    found = compare([good.path, poor.path], resamples=QUICK)
    overall = tables.overall(found).set_index("run")
    for run in (good, poor):
        measured = measure(run.predictions("test"), run.classes)
        row = overall.loc[run.path.name]
        assert row["macro_f1"] == measured.macro_f1
        assert row["accuracy"] == measured.accuracy
        assert row["macro_f1_low"] < row["macro_f1"] < row["macro_f1_high"]
        per_class = tables.per_class(found).set_index(["run", "class"])
        for name, one in measured.by_class.items():
            assert per_class.loc[(run.path.name, name), "recall"] == one.recall


def test_the_best_validation_macro_f1_is_marked_whatever_the_test_says(good, poor):
    validation = poor.predictions("validation")
    poor.write_predictions("validation", validation.assign(predicted=validation["label"]))
    found = compare([good.path, poor.path], resamples=QUICK)
    assert found.chosen == "poor-one"
    assert list(sections(found)[0].table["run"]) == ["good", "★ poor-one"]


def test_runs_of_the_same_films_are_paired(good, poor):
    found = compare([good.path, poor.path], resamples=QUICK)
    (pair,) = found.pairs
    expected = compare_paired(
        good.predictions("test"), poor.predictions("test"), good.classes, resamples=QUICK
    )
    assert (pair.common, pair.whole, pair.result) == (120, True, expected)
    assert expected.macro_f1.value > 0.1
    assert found.cautions() == []


def test_films_in_another_order_are_the_same_films(good, poor):
    whole = compare([good.path, poor.path], resamples=QUICK).pairs[0]
    shuffled = poor.predictions("test").sample(frac=1, random_state=0)
    poor.write_predictions("test", shuffled)
    assert compare([good.path, poor.path], resamples=QUICK).pairs[0] == whole


def test_runs_of_other_films_are_paired_on_what_they_share(good, poor):
    poor.write_predictions("test", poor.predictions("test").iloc[30:])
    found = compare([good.path, poor.path], resamples=QUICK)
    (pair,) = found.pairs
    assert (pair.common, pair.whole, pair.result.films) == (90, False, 90)
    assert "share 90 test films" in found.cautions()[0]
    assert "share 90 test films" in as_markdown(found)


def test_runs_without_a_common_film_are_not_paired(good, poor):
    good.write_predictions("test", good.predictions("test").iloc[:60])
    poor.write_predictions("test", poor.predictions("test").iloc[60:])
    found = compare([good.path, poor.path], resamples=QUICK)
    assert found.pairs[0].result is None
    assert "no test film in common" in found.cautions()[0]
    assert pd.isna(tables.pairs(found).loc[0, "p"])
    as_page(found).render()


def test_films_with_two_labels_are_left_out_of_the_pair(good, poor):
    changed = poor.predictions("test")
    changed.loc[0, "label"] = "normal" if changed.loc[0, "label"] != "normal" else "pneumonia"
    poor.write_predictions("test", changed)
    found = compare([good.path, poor.path], resamples=QUICK)
    assert (found.pairs[0].common, found.pairs[0].relabelled) == (119, 1)
    assert "1 more have different labels" in found.cautions()[0]


def test_p_is_adjusted_for_all_pairs(make_run):
    runs = [make_run(name, skill).path for name, skill in (("a", 1.9), ("bc", 1.5), ("def", 1.1))]
    found = compare(runs, resamples=QUICK)
    table = tables.pairs(found)
    assert len(table) == 3
    assert (table["p_holm"] >= table["p"]).all()
    assert table["p_holm"].min() == pytest.approx(min(1, 3 * table["p"].min()))


def test_published_numbers_stand_beside_ours_with_a_word_of_caution(good, tmp_path):
    found = compare([good.path], published=True, resamples=QUICK)
    table = tables.overall(found)
    report = table[table["films"] == "report"].set_index("run")
    assert report.loc["effnet_svm_voting", "macro_f1"] == 0.9662
    assert report.loc["HOG + SVM (second group)", "accuracy"] == 0.9227
    write_comparison(found, tmp_path / "out")
    for name in ("comparison.md", "comparison.html"):
        said = (tmp_path / "out" / name).read_text("utf-8").replace("&#39;", "'")
        assert CAUTION in said
        assert "0.9662" in said
    assert CAUTION not in as_markdown(compare([good.path], resamples=QUICK))


def test_how_a_run_was_made_is_read_from_its_files(good):
    row = tables.made(compare([good.path], resamples=QUICK)).iloc[0]
    assert row["backbone"] == "tf_efficientnet_lite0"
    assert row["weights"] == "drawn by hand"
    assert (row["side"], row["chain"], row["epochs"], row["minutes"]) == (224, "none", "3", 2.5)
    # of the epoch whose weights were kept: the recipe keeps the last
    assert (row["train_accuracy"], row["validation_accuracy"]) == (0.95, 0.8)


def test_errors_by_source(good):
    table = tables.sources(compare([good.path], resamples=QUICK)).set_index("source")
    predictions = good.predictions("test")
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    for source in ("here", "there"):
        assert table.loc[source, "wrong"] == (wrong["source"] == source).sum()
        assert table.loc[source, "films"] == (predictions["source"] == source).sum()


def test_members_have_a_course_each(make_run, good):
    parent = make_run("ova", recipe="effnet-one-vs-all")
    (parent.path / "history.csv").unlink()
    for name in parent.recipe.members:
        settings = ("one_vs_all=false", f"target={name}")
        place = parent.path / "members" / name
        make_run(name, recipe="effnet-one-vs-all", settings=settings, place=place)
    found = compare([parent.path, good.path], resamples=QUICK)
    assert list(found.entries[0].courses) == ["normal", "pneumonia", "tuberculosis"]
    row = tables.made(found).iloc[0]
    assert (row["members"], row["epochs"], row["minutes"]) == (3, "3", 7.5)
    page = as_page(found).render()
    assert "ova, tuberculosis: loss of training and validation by epoch." in page


def test_a_model_without_epochs_has_no_course(good, poor):
    (good.path / "history.csv").unlink()
    found = compare([good.path, poor.path], resamples=QUICK)
    row = tables.made(found).iloc[0]
    assert row["epochs"] is None or pd.isna(row["epochs"])
    assert "Fitted in one go, without epochs: good." in as_page(found).render()


def test_everything_is_written_and_nothing_replaced_unasked(good, poor, tmp_path):
    found = compare([good.path, poor.path], resamples=QUICK)
    page = write_comparison(found, tmp_path / "out")
    assert page.name == "comparison.html"
    assert sorted(os.listdir(tmp_path / "out")) == sorted(FILES)
    assert "<script" not in page.read_text("utf-8")
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "out" / "pairs.csv"), tables.pairs(found), check_dtype=False
    )
    with pytest.raises(OutputError, match="exists already"):
        write_comparison(found, tmp_path / "out")
    write_comparison(found, tmp_path / "out", force=True)


def test_what_cannot_be_compared_is_refused(good, make_run, tmp_path):
    with pytest.raises(RunError, match="no run folder"):
        compare([good.path, tmp_path])
    unfinished = make_run("unfinished")
    (unfinished.path / "predictions-test.csv").unlink()
    with pytest.raises(RunError, match=r"not finished.*--resume -o .*unfinished"):
        compare([unfinished.path])
    twin = make_run("good", place=tmp_path / "elsewhere" / "good")
    with pytest.raises(RunError, match="one name, good"):
        compare([good.path, twin.path])


def test_markdown_escapes_what_would_break_a_table():
    table = pd.DataFrame({"run": ["a|b"], "F1": ["0.9"]})
    assert markdown(table) == "| run | F1 |\n| --- | --- |\n| a\\|b | 0.9 |\n"
