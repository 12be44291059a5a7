import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_fscore_support

from cxrlens.collections.collection import patient_codes
from cxrlens.errors import CollectionError, OutputError, RunError
from cxrlens.evaluation.assess import assess, calibration
from cxrlens.evaluation.measured import read_metrics, write_metrics
from cxrlens.evaluation.metrics import measure

from .drawn_predictions import CLASSES, draw


def by_hand(label, predicted, scores, name):
    """Precision, recall, F1 and AUC of a class, counted film by film and pair by pair."""
    hit = sum(a == b == name for a, b in zip(label, predicted, strict=True))
    called = sum(b == name for b in predicted)
    films = sum(a == name for a in label)
    ours = [s for s, a in zip(scores, label, strict=True) if a == name]
    rest = [s for s, a in zip(scores, label, strict=True) if a != name]
    wins = sum((x > y) + (x == y) / 2 for x in ours for y in rest)
    precision, recall = hit / called, hit / films
    f1 = 2 * precision * recall / (precision + recall)
    return precision, recall, f1, wins / (len(ours) * len(rest))


def test_metrics_are_what_one_counts_by_hand():
    table = draw(decimals=1)  # many equal scores
    table[list(CLASSES)] = table[list(CLASSES)].div(table[list(CLASSES)].sum(axis=1), axis=0)
    found = measure(table, CLASSES)
    expected = [by_hand(table["label"], table["predicted"], table[name], name) for name in CLASSES]
    for name, (precision, recall, f1, auc) in zip(CLASSES, expected, strict=True):
        one = found.by_class[name]
        assert (one.precision, one.recall, one.f1, one.auc) == pytest.approx(
            (precision, recall, f1, auc)
        )
        assert one.films == (table["label"] == name).sum()
        assert one.predicted == (table["predicted"] == name).sum()
        others = table["label"] != name
        assert one.specificity == pytest.approx((table["predicted"][others] != name).mean())
    means = np.mean(expected, axis=0)
    assert (
        found.macro_precision,
        found.macro_recall,
        found.macro_f1,
        found.macro_auc,
    ) == pytest.approx(tuple(means))
    assert found.accuracy == pytest.approx((table["label"] == table["predicted"]).mean())
    assert found.films == 300
    assert found.patients == table["patient"].nunique()


def test_the_confusion_matrix_has_labels_in_rows():
    table = draw()
    found = measure(table, CLASSES)
    for i, label in enumerate(CLASSES):
        for j, predicted in enumerate(CLASSES):
            here = (table["label"] == label) & (table["predicted"] == predicted)
            assert found.confusion[i][j] == here.sum()


def test_the_report_s_own_figures_come_out():
    # Table 1 of the report gives effnet_svm's F1 as the harmonic mean of no two averages: macro F1
    # is the mean of F1s. Three classes with known counts, so that the two differ.
    counts = [[90, 10, 0], [5, 45, 0], [0, 4, 6]]
    rows = [
        {"label": a, "predicted": b} | {n: 1.0 * (n == b) for n in CLASSES}
        for i, a in enumerate(CLASSES)
        for j, b in enumerate(CLASSES)
        for _ in range(counts[i][j])
    ]
    found = measure(pd.DataFrame(rows), CLASSES)
    f1s = [180 / 195, 90 / 109, 12 / 16]
    assert found.confusion == counts
    assert found.macro_f1 == pytest.approx(np.mean(f1s))
    assert found.macro_precision == pytest.approx(np.mean([90 / 95, 45 / 59, 1]))


@pytest.mark.parametrize("seed", range(60))
def test_classes_and_means_are_scikit_learn_s_whatever_classes_occur(seed):
    random = np.random.default_rng(seed)
    labels, calls = (
        random.choice(random.choice(CLASSES, random.integers(1, 4), replace=False), films)
        for films in [random.integers(1, 30)] * 2
    )
    table = pd.DataFrame({"label": labels, "predicted": calls})
    table[list(CLASSES)] = random.dirichlet(np.ones(len(CLASSES)), len(table))
    found = measure(table, CLASSES)
    names = ("precision", "recall", "f1")
    means = precision_recall_fscore_support(labels, calls, average="macro", zero_division=0)[:3]
    ours = [getattr(found, f"macro_{name}") for name in names]
    assert ours == pytest.approx(means, abs=1e-12)
    each = precision_recall_fscore_support(labels, calls, labels=CLASSES, zero_division=np.nan)[:3]
    for name, values in zip(names, each, strict=True):
        ours = [getattr(found.by_class[label], name) for label in CLASSES]
        assert [np.nan if v is None else v for v in ours] == pytest.approx(
            list(values), abs=1e-12, nan_ok=True
        )


def test_a_class_without_films_has_no_recall_but_lowers_the_mean_if_it_is_called():
    table = draw()
    table = table[table["label"] != "tuberculosis"]
    found = measure(table, CLASSES)
    absent = found.by_class["tuberculosis"]
    assert absent.films == 0
    assert absent.predicted > 0
    assert (absent.precision, absent.recall, absent.f1, absent.auc) == (0, None, 0, None)
    there = [found.by_class[name] for name in CLASSES[:2]]
    assert found.macro_f1 == pytest.approx(sum(one.f1 for one in there) / 3)
    assert found.macro_auc == pytest.approx(np.mean([one.auc for one in there]))


def test_a_class_that_does_not_occur_is_in_no_mean():
    table = draw()[["label", *CLASSES]]
    table = table[table["label"] != "tuberculosis"]
    found = measure(table.assign(predicted=table["label"]), CLASSES)
    absent = found.by_class["tuberculosis"]
    assert (absent.precision, absent.recall, absent.f1) == (None, None, None)
    assert (found.macro_precision, found.macro_recall, found.macro_f1) == (1, 1, 1)


def test_a_class_that_is_never_predicted_has_no_precision_but_lowers_the_mean():
    table = draw()
    table.loc[table["predicted"] == "tuberculosis", "predicted"] = "normal"
    found = measure(table, CLASSES)
    never = found.by_class["tuberculosis"]
    assert (never.precision, never.recall, never.f1) == (None, 0, 0)
    known = [found.by_class[name].precision for name in CLASSES[:2]]
    assert found.macro_precision == pytest.approx(sum(known) / 3)


def test_films_of_one_class_have_no_auc():
    table = draw()
    found = measure(table[table["label"] == "normal"], CLASSES)
    assert found.macro_auc is None
    # Films of one class, some called otherwise: the other classes count 0, as in scikit-learn.
    calls = len([one for one in found.by_class.values() if one.predicted])
    assert found.macro_recall == pytest.approx(found.accuracy / calls)


def test_films_without_a_patient_count_as_their_own():
    table = pd.DataFrame({"patient": ["a", None, "a", np.nan]})
    codes = patient_codes(table)
    assert codes[0] == codes[2]
    assert len(set(codes)) == 3
    assert list(patient_codes(pd.DataFrame({"x": [1, 2]}))) == [0, 1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop(columns=["label", "normal"]), "lack the columns label, normal"),
        (lambda t: t.iloc[:0], "no films"),
        (lambda t: t.assign(label=[None, *t["label"][1:]]), "1 of 300 films have no label"),
        (lambda t: t.assign(label="covid"), "the column label holds 'covid'"),
        (lambda t: t.assign(predicted="covid"), "the column predicted holds 'covid'"),
        (lambda t: t.assign(normal=np.nan), "between 0 and 1"),
        (lambda t: t.assign(normal=1.5), "between 0 and 1"),
        (lambda t: t.assign(normal=t["normal"] * 0), "the probabilities of film-.* sum to"),
    ],
)
def test_a_table_that_cannot_be_measured_is_refused(change, sentence):
    with pytest.raises(CollectionError, match=sentence):
        measure(change(draw()), CLASSES)


def test_probabilities_may_be_rounded_to_two_decimals():
    table = draw(decimals=6)
    table.loc[7, list(CLASSES)] = [0.209, 0.4, 0.4]
    assert measure(table, CLASSES).films == 300
    table.loc[7, "normal"] = 0.22
    with pytest.raises(CollectionError, match=r"film-7\.png sum to 1\.020"):
        measure(table, CLASSES)


def test_metrics_come_back_from_their_file(tmp_path):
    path = tmp_path / "metrics.json"
    table = draw()
    whole = {"test": assess(table, CLASSES, resamples=50)}
    write_metrics(path, whole)
    assert read_metrics(path) == whole
    plain = json.loads(path.read_text())
    assert set(plain) == {"test"}
    assert plain["test"]["by_source"]["here"]["films"] == (table["source"] == "here").sum()
    assert set(plain["test"]["intervals"]["by_name"]) == set(whole["test"].flat())
    with pytest.raises(OutputError):
        write_metrics(path, whole)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is missing"),
        ("{", r"no JSON \(EOF.*line 1 column 1\)"),
        ("[1]", "is damaged: .*dictionary"),
        ('{"test": {"f1": 1}}', r"damaged at test\..*evaluate the run again"),
    ],
)
def test_a_file_that_is_no_metrics_is_refused(tmp_path, content, sentence):
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RunError, match=sentence):
        read_metrics(path)


def test_sources_are_measured_each_alone():
    table = draw()
    found = assess(table, CLASSES, resamples=0)
    assert list(found.by_source) == ["here", "there"]
    for name, one in found.by_source.items():
        measured = measure(table[table["source"] == name], CLASSES)
        assert one.model_copy(update={"calibration": None}) == measured
    alone = assess(table[table["source"] == "here"], CLASSES, resamples=0)
    assert alone.by_source == {}


def test_calibration_knows_shares_certainty_and_overclaiming():
    label = ["normal"] * 6 + ["pneumonia"] * 3 + ["tuberculosis"]
    table = pd.DataFrame({"label": label, "predicted": "normal"})
    shares = table.assign(normal=0.6, pneumonia=0.3, tuberculosis=0.1)
    found = calibration(shares, CLASSES, resamples=50)
    assert found.ece.value == pytest.approx(0)
    assert found.skill.value == pytest.approx(0)
    assert found.brier.value == pytest.approx(1 - 0.36 - 0.09 - 0.01)
    assert [one.films for one in found.bins] == [10]
    assert found.ece.interval is not None

    right = pd.get_dummies(table["label"]).astype(float)
    perfect = calibration(table.assign(predicted=label, **right), CLASSES, resamples=0)
    assert (perfect.ece.value, perfect.brier.value, perfect.skill.value) == (0, 0, 1)

    sure = calibration(table.assign(normal=1.0, pneumonia=0.0, tuberculosis=0.0), CLASSES, 0)
    assert sure.ece.value == pytest.approx(0.4)
    assert sure.skill.value < 0
    alone = table[:6].assign(normal=0.9, pneumonia=0.1, tuberculosis=0.0)
    assert calibration(alone, CLASSES, 0).skill.value is None
