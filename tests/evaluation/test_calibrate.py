import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from cxrlens.collections.collection import Collection, read_collection
from cxrlens.errors import CollectionError, CxrlensError, OutputError
from cxrlens.evaluation.calibrate import (
    Costs,
    Site,
    Wish,
    beta_quantile,
    calibrate,
    films_for,
    fit_site,
)
from cxrlens.phantoms import write_phantoms
from cxrlens.prediction import Predictor, load
from cxrlens.prediction.calibration import Measures
from cxrlens.prediction.table import predict_films
from cxrlens.prediction.trust import Trust
from cxrlens.runs import Run

CLASSES = ("normal", "pneumonia", "tuberculosis")
Place = Callable[[int, int], tuple[Measures, np.ndarray]]


def place(films: int, seed: int) -> tuple[Measures, np.ndarray]:
    """Films of a place with normal and tuberculosis alone, whose scores are all shifted by 4."""
    random = np.random.default_rng(seed)
    labels = np.where(random.random(films) < 0.5, 2, 0)
    tuberculosis = random.normal(0, 1.5, films) + 2.5 * (labels == 2) - 4
    return Measures(np.stack([np.full(films, -6.0), tuberculosis], 1)), labels


def site_of(films: Measures, labels: np.ndarray, wish: Wish, **told: object) -> Site:
    patients = np.arange(len(labels))
    return fit_site(Trust(CLASSES), "0" * 12, films, labels, patients, wish, **told)  # type: ignore[arg-type]


@pytest.mark.parametrize(("a", "b"), [(1, 1), (18, 3), (180, 21), (1, 40), (400, 1)])
@pytest.mark.parametrize("share", [0.025, 0.5, 0.975])
def test_the_beta_quantile_is_scipy_s(a: int, b: int, share: float) -> None:
    assert beta_quantile(share, a, b) == pytest.approx(beta.ppf(share, a, b), abs=1e-9)


def test_films_are_counted_for_five_points() -> None:
    def half(films: int, share: float) -> float:
        missed = int((1 - share) * films + 1e-9)
        low, high = beta.ppf([0.025, 0.975], films - missed, missed + 1)
        return float(high - low) / 2

    for share in (0.7, 0.9, 0.95):
        enough = films_for(share)
        assert half(enough, share) <= 0.05 < half(enough - 1, share)


@pytest.mark.parametrize("kind", ["sensitivity", "specificity"])
def test_the_wish_is_kept_at_the_place_as_often_as_is_said(kind: str) -> None:
    whole, labels_of_all = place(20000, 99)
    inside, got = 0, []
    for seed in range(60):
        films, labels = place(200, seed)
        site = site_of(films, labels, Wish(kind, 0.9))  # type: ignore[arg-type]
        chosen, bound = site.thresholds["tuberculosis"], None
        threshold = site.numbers.thresholds[1]
        called = whole.z[:, 1] > threshold
        truth = (
            called[labels_of_all == 2].mean()
            if kind == "sensitivity"
            else 1 - called[labels_of_all == 0].mean()
        )
        bound = chosen.sensitivity if kind == "sensitivity" else chosen.specificity
        got.append(truth)
        inside += bound.low <= truth <= bound.high
    assert inside >= 52
    assert np.mean(got) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("kind", ["sensitivity", "specificity", "cost"])
def test_what_is_told_of_a_threshold_is_counted_at_it(kind: str) -> None:
    films, labels = place(300, 5)
    films = Measures(films.z.round(1))  # so that ill and well films have one score
    costs = Costs(miss=3, alarm=2)
    site = site_of(films, labels, Wish(kind, 0.9, costs))  # type: ignore[arg-type]
    told, at = site.thresholds["tuberculosis"], site.numbers.thresholds[1]
    ill, well = films.z[labels == 2, 1], films.z[labels == 0, 1]
    n, m = len(ill), len(well)
    assert (told.films, told.normals) == (n, m)
    assert (told.missed, told.alarms) == ((ill <= at).sum(), (well > at).sum())

    def chosen(films: int, wrong: int) -> list[float]:
        found = films - wrong, wrong + 1
        return [found[0] / (films + 1), *beta.ppf([0.025, 0.975], *found)]

    def counted(films: int, wrong: int) -> list[float]:
        right = films - wrong
        bounds = beta.ppf(0.025, right, wrong + 1), beta.ppf(0.975, right + 1, wrong)
        return [right / films, *bounds]

    ways = [chosen if kind == name else counted for name in ("sensitivity", "specificity")]
    for bound, way, of in zip(
        (told.sensitivity, told.specificity),
        ways,
        ((n, told.missed), (m, told.alarms)),
        strict=True,
    ):
        assert [bound.value, bound.low, bound.high] == pytest.approx(way(*of))
    if kind == "cost":
        share = site.prevalence

        def cost(edge: float) -> float:
            missed, alarms = (ill <= edge).mean(), (well > edge).mean()
            return float(share["tuberculosis"] * missed * 3 + share["normal"] * alarms * 2)

        assert cost(at) == pytest.approx(min(map(cost, films.z[:, 1])))


def test_a_threshold_finds_the_films_it_was_chosen_for() -> None:
    films, labels = place(300, 5)
    told = site_of(films, labels, Wish("sensitivity", 0.9)).thresholds["tuberculosis"]
    assert told.missed == int(0.1 * told.films + 1e-9)
    parted = np.where(labels == 2, 3.0, -3.0) + films.z[:, 1] / 100
    apart = Measures(np.stack([films.z[:, 0], parted], 1))
    told = site_of(apart, labels, Wish("sensitivity", 0.9)).thresholds["tuberculosis"]
    assert (told.alarms, told.specificity.value, told.specificity.high) == (0, 1.0, 1.0)


def test_more_films_are_told_by_their_share() -> None:
    films, labels = place(100, 1)
    found = site_of(films, labels, Wish()).thresholds["tuberculosis"]
    assert found.more == films_for(0.9) - (labels == 2).sum()
    assert found.more_films == pytest.approx(found.more / (labels == 2).mean(), abs=1)
    many, labels = place(2000, 1)
    assert site_of(many, labels, Wish()).thresholds["tuberculosis"].more == 0


def test_probabilities_mean_something_at_the_place() -> None:
    films, labels = place(400, 3)
    trust = Trust(CLASSES)
    site = site_of(films, labels, Wish())
    moved = Trust(CLASSES, site.numbers)
    others, truth = place(4000, 4)
    brier = {}
    for name, of in (("before", trust), ("after", moved)):
        shares = of.answer(others, [""] * 4000).probabilities
        brier[name] = ((shares - np.eye(3)[truth]) ** 2).sum(1).mean()
    chance = (
        ((np.array([(truth == c).mean() for c in range(3)]) - np.eye(3)[truth]) ** 2).sum(1).mean()
    )
    assert brier["after"] < 0.7 * chance < brier["before"]
    assert site.notes[0].startswith("There are 0 films of pneumonia")


def test_what_never_happened_may_happen() -> None:
    labels = np.arange(90) % 3
    z = np.where(labels[:, None] == [1, 2], 8.0, -8.0) + np.random.default_rng(0).random((90, 2))
    site = site_of(Measures(z), labels, Wish("sensitivity", 0.99), unsure=0.0)
    screened, sure = site.screened, site.thresholds["tuberculosis"].specificity
    assert (screened.missed.value, screened.alarms.value, sure.value) == (0, 0, 1)
    assert screened.alarms.high == pytest.approx(1000 * site.prevalence["normal"] * (1 - sure.low))
    assert screened.missed.high > screened.missed.low == 0


def test_what_happens_to_a_thousand_follows_the_stated_prevalence() -> None:
    films, labels = place(400, 3)
    wish = Wish("sensitivity", 0.9, Costs(miss=100, alarm=5, read=1))
    rare = site_of(films, labels, wish, prevalence={"tuberculosis": 0.01}, unsure=0.0)
    assert (rare.at_least, rare.left_out, rare.prevalence_stated) == (0.9, 0, True)
    told = rare.thresholds["tuberculosis"]
    screened = rare.screened
    assert screened.missed.value == pytest.approx(10 * told.missed / told.films, rel=0.02)
    assert screened.alarms.value == pytest.approx(990 * told.alarms / told.normals, rel=0.02)
    assert screened.cost is not None
    expected = 100 * screened.missed.value + 5 * screened.alarms.value + screened.unsure.value
    assert screened.cost.value == pytest.approx(expected)
    assert screened.cost.low < screened.cost.value < screened.cost.high
    ill = {"pneumonia": 0.2, "tuberculosis": 0.3}
    assert site_of(films, labels, wish, prevalence=ill).prevalence == pytest.approx(
        {"normal": 0.5, **ill}
    )
    counts = np.bincount(labels, minlength=3)
    counted = site_of(films, labels, wish)
    assert [*counted.prevalence.values()] == pytest.approx([*(counts + 1) / 403])
    assert not counted.prevalence_stated
    with pytest.raises(CxrlensError, match="leave no one healthy"):
        site_of(films, labels, wish, prevalence={"pneumonia": 0.5, "tuberculosis": 0.5})
    with pytest.raises(CxrlensError, match=r"covid=0\.1: name one of pneumonia, tuberculosis"):
        site_of(films, labels, wish, prevalence={"covid": 0.1})


def test_one_patient_with_all_missed_films_widens_the_interval() -> None:
    films, labels = place(300, 5)
    at = site_of(films, labels, Wish(), unsure=0.0).numbers.thresholds[1]
    patients = np.arange(1, 301)
    patients[(labels == 2) & (films.z[:, 1] <= at)] = 0
    trust = Trust(CLASSES)
    missed = fit_site(trust, "0" * 12, films, labels, patients, Wish(), unsure=0.0).screened.missed
    assert missed.low == 0 < 1.5 * missed.value < missed.high


def test_the_threshold_of_least_cost_follows_the_costs() -> None:
    films, labels = place(400, 3)
    sites = [
        site_of(films, labels, Wish("cost", 0.9, Costs(miss=miss, alarm=1))) for miss in (50, 0.1)
    ]
    assert {site.at_least for site in sites} == {None}
    dear, cheap = (site.thresholds["tuberculosis"] for site in sites)
    assert dear.sensitivity.value > 0.95 > 0.5 > cheap.sensitivity.value


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Drawn films that the small run never met."""
    return read_collection(
        write_phantoms(tmp_path_factory.mktemp("site") / "set", 45, seed=77, side=64)
    )


def test_films_become_a_site_file_that_prediction_takes(
    small_run: Run, others: Collection, tmp_path: Path
) -> None:
    made = calibrate(small_run.path, others, tmp_path / "site.json", cache=tmp_path / "cache")
    assert sum(made.site.films.values()) == 45
    assert Site.model_validate_json(made.path.read_text()) == made.site
    moved = Predictor.load(small_run.path, site=made.path)
    assert moved.trust.site == made.digest
    film = others.films["image"].iloc[0]
    prediction = moved.predict(film)
    assert prediction.calibrated
    assert prediction.probabilities != Predictor.load(small_run.path).predict(film).probabilities
    with pytest.raises(OutputError, match="exists already"):
        calibrate(small_run.path, others, made.path)
    content = json.loads(made.path.read_text())
    made.path.write_text(json.dumps({**content, "model": "ffffffffffff"}))
    with pytest.raises(CxrlensError, match="made for the model ffffffffffff"):
        Predictor.load(small_run.path, site=made.path)


def test_a_table_of_predictions_that_a_reader_corrects_is_taken(
    small_run: Run, others: Collection, tmp_path: Path
) -> None:
    table = tmp_path / "predictions.csv"
    predict_films(load(small_run.path), list(map(Path, others.films["image"])), table)
    corrected = pd.read_csv(table)
    corrected["label"] = others.films["label"].to_numpy()
    corrected.loc[:4, "label"] = None
    corrected.to_csv(table, index=False)
    made = calibrate(small_run.path, table, tmp_path / "site.json", wish=Wish("sensitivity", 0.7))
    assert made.site.left_out >= 5
    assert sum(made.site.films.values()) <= len(others.films) - 5
    assert [sum(of) for of in made.site.histogram.values()] == pytest.approx([1, 1])


def test_films_that_cannot_calibrate_are_refused(
    small_run: Run, others: Collection, phantoms: Collection, tmp_path: Path
) -> None:
    films = others.films
    with pytest.raises(CollectionError, match=r"29 films are too few .* 30 films do .* about 142"):
        calibrate(small_run.path, Collection(films[:29]), tmp_path / "a.json")
    normal = Collection(films.assign(label="normal"))
    with pytest.raises(CollectionError, match="all 45 films are normal"):
        calibrate(small_run.path, normal, tmp_path / "a.json")
    for normals, ill in ((4, 41), (41, 4)):
        few = Collection(films.assign(label=["normal"] * normals + ["tuberculosis"] * ill))
        told = f"there are {normals} normal films and at most {ill} of a disease: 30 films do"
        with pytest.raises(CollectionError, match=told):
            calibrate(small_run.path, few, tmp_path / "a.json")
    learnt = phantoms.films[phantoms.films["split"] == "train"]
    copies = []
    for number, image in enumerate(learnt["image"]):
        copies.append(str(tmp_path / f"{number}{Path(image).suffix}"))
        Path(copies[-1]).write_bytes(Path(image).read_bytes())
    elsewhere = learnt.assign(image=copies)
    for normals in (5, len(copies) - 5):  # five of a class are no longer too few
        labels = ["normal"] * normals + ["tuberculosis"] * (len(copies) - normals)
        with pytest.raises(CollectionError, match="films are ones that the model learnt from"):
            calibrate(
                small_run.path, Collection(elsewhere.assign(label=labels)), tmp_path / "a.json"
            )
    assert not (tmp_path / "a.json").exists()
