import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from cxrlens.errors import CxrlensError, RecipeError, RunError
from cxrlens.main_job import train
from cxrlens.prediction.networks import film_features
from cxrlens.prediction.predictor import load
from cxrlens.recipes.recipe import Baseline, read_recipe
from cxrlens.training.baselines import fit_baseline
from cxrlens.training.tuning import space_of

KINDS = ("thumbnail-ridge", "pca-svm", "hog-svm")


def drawn_films(films=150, side=32, seed=0, noise=200, bar=55):
    """Noise with a bright bar whose place is the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, films)
    pixels = random.integers(0, noise, (films, side, side)).astype(np.uint8)
    for film, label in zip(pixels, labels, strict=True):
        film[:, 8 + 6 * label : 11 + 6 * label] += bar
    return pixels, np.arange(films), labels


@pytest.mark.parametrize("kind", KINDS)
def test_folded_weights_score_as_scikit_learn_s_pipeline(kind):
    settings = Baseline(kind=kind, grid=(0.01, 1.0), components=20, cell=8)
    train, validation = drawn_films(), drawn_films(60, seed=1)
    fitted = fit_baseline(settings, 7, train, validation)
    described = [
        np.stack([film_features(film, settings) for film in part[0]]).astype(float)
        for part in (train, validation)
    ]
    tried = {}
    for value in settings.grid:
        last = (
            RidgeClassifier(alpha=value)
            if kind == "thumbnail-ridge"
            else LinearSVC(C=value, random_state=7, max_iter=5000)
        )
        first = [PCA(20, svd_solver="randomized", random_state=7)] if kind == "pca-svm" else []
        pipeline = make_pipeline(*first, StandardScaler(), last).fit(described[0], train[2])
        f1 = f1_score(validation[2], pipeline.predict(described[1]), average="macro")
        tried[value] = (f1, pipeline.decision_function(described[1]))
    (chosen,) = fitted.facts["baseline"]["chosen"].values()
    best = max(f1 for f1, _ in tried.values())
    assert tried[chosen][0] == best
    scores = described[1] @ fitted.weight.T.astype(float) + fitted.bias
    np.testing.assert_allclose(scores, tried[chosen][1], atol=2e-3)


def test_of_equal_values_the_one_that_regularises_most_is_taken():
    films = drawn_films(noise=20)  # so plain that every value is right everywhere
    for kind, value in (("thumbnail-ridge", 10.0), ("pca-svm", 0.1)):
        settings = Baseline(kind=kind, grid=(1.0, 0.1, 10.0), components=5)
        fitted = fit_baseline(settings, 0, films, films)
        assert list(fitted.facts["baseline"]["chosen"].values()) == [value]


def test_class_weights_find_more_of_a_rare_class():
    pixels, rows, labels = drawn_films(400, bar=12)
    keep = (labels != 2) | (np.arange(400) % 8 == 0)
    rare = (pixels, rows[keep], labels[keep])
    found = []
    for weighted in (False, True):
        settings = Baseline(kind="thumbnail-ridge", grid=(300.0,), class_weights=weighted)
        fitted = fit_baseline(settings, 0, rare, drawn_films(seed=2, bar=12))
        described = np.stack([film_features(film, settings) for film in pixels[labels == 2]])
        found.append(int(((described @ fitted.weight.T + fitted.bias).argmax(1) == 2).sum()))
    assert found[1] > found[0]


@pytest.fixture(scope="module", params=KINDS)
def baseline_run(request, phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return train(request.param, phantoms, folder / "run", settings=("side=64",), cache=folder / "c")


def test_a_baseline_is_a_run_like_any_other(baseline_run):
    assert set(baseline_run.metrics()) == {"validation", "test"}
    assert (baseline_run.path / "report.html").is_file()
    assert baseline_run.history().empty
    assert baseline_run.versions()["seconds"] >= 0
    text = (baseline_run.path / "recipe.yaml").read_text()
    assert "baseline:" in text
    assert "learning_rate" not in text
    predictions = baseline_run.predictions("test")
    predictor = load(baseline_run.path)
    again = predictor.predict(predictions["image"].iloc[0])
    assert again.predicted == predictions["predicted"].iloc[0]
    chosen = baseline_run.versions()["baseline"]["validation_macro_f1"]
    measured = baseline_run.metrics()["validation"]["macro_f1"]
    assert measured == pytest.approx(max(chosen.values()), abs=1e-6)
    assert sum(again.probabilities.values()) == pytest.approx(1)
    scores = predictor.network.run(again.examination.pixels[None]).scores[0][0].astype(float)
    softmax = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(list(again.probabilities.values()), softmax, rtol=1e-6)


def test_every_method_but_gradcam_explains_a_baseline(baseline_run):
    image = baseline_run.predictions("test")["image"].iloc[0]
    predictor = load(baseline_run.path)
    prediction = predictor.predict(image)
    with pytest.raises(CxrlensError, match="feature maps"):
        prediction.explain("gradcam")
    for method in predictor.methods:
        assert prediction.explain(method.name).values.max() <= 1


def test_broken_weights_are_one_sentence(baseline_run, tmp_path):
    arrays = load_file(baseline_run.weights)
    assert set(arrays) == {"weight", "bias"}
    whole = baseline_run.weights.read_bytes()
    try:
        baseline_run.weights.write_bytes(b"broken")
        with pytest.raises(RunError, match="train again"):
            load(baseline_run.path)
    finally:
        baseline_run.weights.write_bytes(whole)


def test_a_recipe_is_a_network_or_a_baseline():
    with pytest.raises(RecipeError, match="either the key model or the key baseline"):
        read_recipe("hog-svm", ("model.backbone=resnet",))
    with pytest.raises(RecipeError, match="a baseline has no training"):
        read_recipe("hog-svm", ("training.batch=8",))
    with pytest.raises(RecipeError, match=r"did you mean baseline.cell"):
        read_recipe("hog-svm", ("baseline.cells=8",))
    with pytest.raises(RecipeError, match="baseline"):
        space_of(read_recipe("hog-svm"))
    with pytest.raises(RecipeError, match="linear model without a network"):
        _ = read_recipe("hog-svm").network
