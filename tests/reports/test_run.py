import html
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from cxrlens.errors import OutputError, RunError
from cxrlens.evaluation.assess import assess, assess_run
from cxrlens.evaluation.measured import read_metrics
from cxrlens.reports.page import NOTICE
from cxrlens.reports.run import kind_of, mistakes, write_films_report, write_report
from cxrlens.runs.run import Run

from ..evaluation.drawn_predictions import CLASSES, draw


def written(run, **options):
    path = write_report(run, run.path / "report.html", force=True, **options)
    return path.read_text(encoding="utf-8")


def test_the_report_says_what_the_metrics_say(run):
    text = html.unescape(written(run))
    found = assess_run(run)["test"]
    assert f"{found.accuracy * 100:.1f}\u00a0%" in text
    interval = found.interval("tuberculosis.f1")
    f1 = found.by_class["tuberculosis"].f1
    assert f"{f1:.3f} ({interval.low:.3f}–{interval.high:.3f})" in text
    label, calls = "normal", dict(zip(CLASSES, found.confusion[0], strict=True))
    assert f"Of {sum(calls.values())} {label} films, {calls[label]} were called normal" in text


def test_the_report_names_population_recipe_weights_versions_and_curves(run):
    text = html.unescape(written(run))
    for part in (
        NOTICE,
        "60 films of",
        "Age is known for 100\u00a0%: 20 to 79 years, median 50.",
        "it has no answer for other diseases",
        "backbone: tf_efficientnet_lite0",
        "drawn by hand",
        run.versions()["numpy"],
        "Weights kept of epoch",
        "Accuracy over 3 epochs; at the end 0.950 in training and 0.800 in validation.",
        "Source by source",
        "not calibrated",
    ):
        assert part in text
    kept = re.search(r"<dt>Weights kept of epoch</dt><dd>(\d+)</dd>", text)
    assert kept[1] == "3"  # the recipe keeps the last


def test_the_report_loads_nothing_and_describes_every_picture(run):
    text = written(run)
    assert not re.search(r"https?:", text)
    assert "<script" not in text
    sources = re.findall(r"<img[^>]* src=\"([^\"]*)\"", text)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    for element in re.findall(r"<img[^>]*>", text):
        assert re.search(r' alt="[^"]{10,}"', element)
    for element in re.findall(r"<svg[^>]*>", text):
        assert re.search(r' role="img" aria-label="[^"]{10,}"', element)


def test_the_same_run_gives_the_same_report(run):
    assert written(run) == written(run)
    assert "2031-05-06" in written(run, date="2031-05-06")


def test_names_from_the_collection_are_escaped(run):
    for name in ("test", "validation"):
        table = run.predictions(name)
        table["source"] = [
            "<script>alert(1)</script>" if s == "here" else s for s in table["source"]
        ]
        run.write_predictions(name, table)
    text = written(run)
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_films_that_are_gone_or_broken_are_shown_as_missing(run):
    images = [Path(image) for image in run.predictions("test")["image"]]
    whole = written(run)
    for place, image in enumerate(images):
        if place % 2:
            image.unlink()
        else:
            image.write_bytes(b"no film")
    assert set(run.predictions("test")["image"]) <= set(run.collection().films["image"])
    text = written(run)
    assert "film not shown" in text
    assert "film not shown" not in whole
    assert str(images[0].parent) not in text  # only the end of a path is told
    cards = whole.count('<p class="film-caption">')
    assert cards > 3
    assert text.count('<p class="film-caption">') == text.count("film not shown") == cards


def test_films_that_were_skipped_are_named(run):
    assert "could not be read" not in written(run)
    run.write_skipped({f"/far/away/part/film-{i}.png": "it is empty" for i in range(11)})
    text = html.unescape(written(run))
    assert "11 of the films below could not be read" in text
    assert "They are part/film-0.png, part/film-1.png," in text
    assert "part/film-7.png and 3 more." in text


def test_a_run_without_mistakes_history_or_sources_has_a_report_too(run):
    for name in ("test", "validation"):
        table = run.predictions(name).drop(columns=["source", "patient"])
        table["predicted"] = table["label"]
        run.write_predictions(name, table)
    (run.path / "history.csv").unlink()
    text = html.unescape(written(run))
    assert "No film was called wrongly." in text
    assert "keeps no history" in text
    assert "Source by source" not in text
    assert "with 60 patients an error rate of up to about 5.0\u00a0% is compatible" in text


def test_a_class_without_test_films_is_said_to_be_unknown(run):
    for name in ("test", "validation"):
        table = run.predictions(name)
        run.write_predictions(name, table[table["label"] != "tuberculosis"])
    text = html.unescape(written(run))
    assert "There are no tuberculosis films: how many would be found is not known." in text
    assert "Few or no test films of" in text


def test_a_report_that_exists_stays(run):
    path = run.path / "report.html"
    write_report(run, path)
    with pytest.raises(OutputError, match="exists already"):
        write_report(run, path)


def test_a_run_without_predictions_has_no_report(run):
    (run.path / "predictions-test.csv").unlink()
    with pytest.raises(RunError, match="no predictions for test, only for validation"):
        write_report(run, run.path / "report.html")
    (run.path / "predictions-validation.csv").unlink()
    with pytest.raises(RunError, match="has no predictions yet"):
        assess_run(run)
    assert not (run.path / "report.html").exists()


def test_the_metrics_are_kept_in_the_run(run):
    found = assess_run(run, resamples=20)
    assert list(found) == ["validation", "test"]
    assert read_metrics(run.path / "metrics.json") == found
    assert Run(run.path).metrics() == json.loads((run.path / "metrics.json").read_text())


def test_mistakes_come_with_the_most_certain_first():
    table = draw()
    found = mistakes(table, CLASSES)
    assert len(found) == (table["label"] != table["predicted"]).sum()
    assert found["certainty"].is_monotonic_decreasing
    first = found.iloc[0]
    assert first["certainty"] == first[first["predicted"]]
    assert mistakes(table.assign(predicted=table["label"]), CLASSES).empty
    assert isinstance(mistakes(table.iloc[:0], CLASSES), pd.DataFrame)


@pytest.mark.parametrize(
    ("label", "predicted", "kind"),
    [
        ("tuberculosis", "normal", "missed"),
        ("normal", "pneumonia", "alarm"),
        ("pneumonia", "tuberculosis", "confused"),
        ("normal", "normal", None),
    ],
)
def test_kinds_of_mistakes(label, predicted, kind):
    assert kind_of(label, predicted) == kind


def test_other_films_have_a_report_that_tells_if_they_were_learnt_from(run, tmp_path):
    films = run.predictions("test")
    tested = assess(films, CLASSES, resamples=20)
    path = write_films_report(run, films, tested, tmp_path / "other.html")
    text = html.unescape(path.read_text())
    assert f"measured on 60 films of {tested.patients} patients from another table" in text
    assert "were learnt from" not in text

    table = run.path / "collection.csv"
    rows = pd.read_csv(table)
    patient = rows["patient"].iloc[0]
    count = (rows["patient"] == patient).sum()
    rows.loc[rows["patient"] == patient, ["split", "patient"]] = ["train", patient.lower()]
    rows.to_csv(table, index=False)
    path = write_films_report(run, films, tested, path, force=True)
    assert f"{count} of these films, or other films of their patients, were" in path.read_text()
