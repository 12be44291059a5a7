import numpy as np
import pandas as pd
import pytest

from cxrlens.errors import CollectionError
from cxrlens.evaluation.assess import assess, assess_scores
from cxrlens.evaluation.measured import Judged, Metrics
from cxrlens.evaluation.scores import read_scores

from .drawn_predictions import CLASSES, draw


def written(table, tmp_path, name="scores.csv", **how):
    path = tmp_path / name
    table.to_csv(path, index=False, **how)
    return path


def test_a_whole_table_is_measured_as_a_run_s_is(tmp_path):
    table = draw()
    scores = read_scores(written(table, tmp_path))
    assert scores.notes == ()
    found = assess_scores(scores, resamples=50)
    assert isinstance(found, Metrics)
    assert found == assess(table, CLASSES, resamples=50)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_columns_are_known_whatever_their_case_and_separator(tmp_path, separator):
    table = draw().drop(columns="predicted")
    odd = table.rename(
        columns={"tuberculosis": " Tuberculosis", "label": "LABEL", "patient": "Patient "}
    )
    odd["LABEL"] = odd["LABEL"].str.upper()
    scores = read_scores(written(odd, tmp_path, sep=separator, encoding="utf-8-sig"))
    assert scores.classes == CLASSES
    assert scores.table["patient"].tolist() == table["patient"].tolist()
    assert "each is the likeliest class" in scores.notes[0]


def test_an_age_that_can_be_none_is_not_known(tmp_path):
    ages = read_scores(written(draw().assign(age=[-5, 1e9, 0, 120, "?"] * 60), tmp_path)).table[
        "age"
    ]
    assert ages[:5].isna().tolist() == [True, True, False, False, True]


def test_a_patient_called_na_is_a_patient(tmp_path):
    table = draw()
    table.loc[:9, "patient"] = "NA"
    assert (read_scores(written(table, tmp_path)).table["patient"] == "NA").sum() == 10


def test_scores_of_one_disease_alone_are_judged(tmp_path):
    table = draw()[["image", "label", "patient", "source", "tuberculosis"]]
    scores = read_scores(written(table, tmp_path))
    assert scores.notes == (
        "The table has no scores of normal and pneumonia: accuracy, F1, the confusion matrix and calibration "
        "are left out, and each disease is ranked by its own score instead of the log-odds against normal; "
        "films labelled pneumonia are measured nowhere.",
    )
    found = assess_scores(scores, resamples=50)
    assert isinstance(found, Judged)
    assert list(found.diseases) == ["tuberculosis"]
    assert found.films == 300


def test_scores_that_are_no_probabilities_are_read_as_before_softmax(tmp_path):
    table = draw(decimals=9)
    logits = table.assign(**{name: np.log(table[name]) + 3 for name in CLASSES})
    scores = read_scores(written(logits, tmp_path))
    assert "taken for scores before softmax" in scores.notes[0]
    assert scores.table[list(CLASSES)].to_numpy() == pytest.approx(
        table[list(CLASSES)].to_numpy(), abs=1e-6
    )


def test_scores_that_do_not_sum_to_one_are_divided_and_rank_alike(tmp_path):
    table = draw(decimals=9)
    free = table.assign(**{name: table[name] * np.linspace(0.2, 0.9, 300) for name in CLASSES})
    scores = read_scores(written(free, tmp_path))
    assert "do not sum to 1" in scores.notes[0]
    found, same = assess_scores(scores, resamples=0), assess(table, CLASSES, resamples=0)
    assert found.diseases["pneumonia"].whole.auc == same.diseases["pneumonia"].whole.auc
    assert found.accuracy == same.accuracy


def test_splits_part_what_is_measured_from_what_chooses(tmp_path):
    table = draw().assign(
        split=["train"] * 100 + ["validation"] * 100 + ["test"] * 60 + ["outside"] * 40
    )
    test, validation = read_scores(written(table, tmp_path)).parted()
    assert (len(test.table), len(validation.table)) == (100, 100)
    assert "100 films of the split train are left out" in test.notes[0]
    with pytest.raises(CollectionError, match="has no test films"):
        read_scores(written(table.iloc[:200], tmp_path)).parted()
    short = table["split"].replace({"train": "Training", "validation": "val"})
    assert len(read_scores(written(table.assign(split=short), tmp_path)).parted()[1].table) == 100
    for word, meant in (("validate", "validation"), ("dev", "validation"), ("train set", "train")):
        odd = table.assign(split=table["split"].replace("train", word))
        sentence = f"row 2: unknown split '{word}' .100 rows so.*did you mean {meant}"
        with pytest.raises(CollectionError, match=sentence):
            read_scores(written(odd, tmp_path)).parted()
    whole, none = read_scores(written(table.drop(columns="split"), tmp_path)).parted()
    assert (len(whole.table), none) == (300, None)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda t: t.drop(columns="label"),
            r"no column 'label' \(normal, pneumonia, tuberculosis\)",
        ),
        (lambda t: t.rename(columns={"label": "Finding"}), "is it 'Finding'. rename"),
        (lambda t: t.drop(columns="image"), "no column 'image'"),
        (
            lambda t: t.rename(columns={"patient": "PatientID"}),
            "no column 'patient', but 'PatientID': rename",
        ),
        (lambda t: t.assign(subset="train"), "no column 'split', but 'subset'"),
        (lambda t: t[["image", "label"]], "has no scores of a disease"),
        (lambda t: t[["image", "label", "normal"]].assign(p_tb=1), "is it 'p_tb'. rename"),
        (lambda t: t.iloc[:0], "lists no film"),
        (
            lambda t: t.assign(image="same.png"),
            "lists 299 images more than once, the first is same.png",
        ),
        (lambda t: t.assign(label=t["label"].mask(t.index == 4)), "1 of 300 films have no label"),
        (
            lambda t: t.assign(label=t["label"].replace("tuberculosis", "TB")),
            "did you mean tuberculosis",
        ),
        (
            lambda t: t.assign(label="covid"),
            "unknown label 'covid' .300 rows so., allowed are normal",
        ),
        (lambda t: t.assign(predicted="pnumonia"), "unknown predicted .* did you mean pneumonia"),
        (
            lambda t: t.assign(normal=t["normal"].mask(t.index == 4)),
            "row 6: the column normal is empty",
        ),
        (lambda t: t.assign(normal="high"), "holds 'high', where a number should be"),
        (lambda t: t.assign(normal=np.inf), "holds 'inf'"),
        (lambda t: t.assign(NORMAL=0.5), "2 columns called normal"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_sentence(tmp_path, change, sentence):
    with pytest.raises(CollectionError, match=sentence) as told:
        read_scores(written(change(draw()), tmp_path))
    assert "\n" not in str(told.value)


def test_what_is_no_table_is_said(tmp_path):
    with pytest.raises(CollectionError, match="there is no file"):
        read_scores(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(CollectionError, match="no table that can be read"):
        read_scores(tmp_path / "empty.csv")
    (tmp_path / "film.csv").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(CollectionError, match=r"film\.csv"):
        read_scores(tmp_path / "film.csv")


def test_thresholds_are_chosen_on_other_films_and_patients_by_the_same_scores(tmp_path):
    scores = read_scores(written(draw(), tmp_path))
    part = draw().assign(image=[f"other-{n}.png" for n in range(300)])
    with pytest.raises(CollectionError, match=r"share films \(300 films so"):
        assess_scores(scores, scores)
    with pytest.raises(CollectionError, match="share patients"):
        assess_scores(scores, read_scores(written(part, tmp_path, "v.csv")))
    part["patient"] = part["patient"].str.lower()
    with pytest.raises(CollectionError, match="share patients"):
        assess_scores(scores, read_scores(written(part, tmp_path, "v.csv")))
    fewer = part.drop(columns=["patient", "normal"])
    with pytest.raises(CollectionError, match=r"has no scores of normal, which .*scores\.csv has"):
        assess_scores(scores, read_scores(written(fewer, tmp_path, "v.csv")))


def test_parquet_is_read_too(tmp_path):
    pytest.importorskip("pyarrow")
    table = pd.DataFrame(draw())
    table.to_parquet(tmp_path / "scores.parquet", index=False)
    assert len(read_scores(tmp_path / "scores.parquet").table) == 300
