import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc

from cxrlens.evaluation.assess import calibration
from cxrlens.evaluation.metrics import measure, probabilities
from cxrlens.reports.figures import confusion_plot, reliability, roc_curves, training_plots

from ..evaluation.drawn_predictions import CLASSES, draw
from .conftest import HISTORY


def lines(drawing):
    return {line.get_label(): line for line in drawing.axes[0].get_lines()}


def test_learning_curves_show_both_sets_and_the_epoch_that_was_kept():
    loss, accuracy = training_plots(HISTORY, HISTORY.iloc[1])
    drawn = lines(loss.picture)
    assert list(drawn["training"].get_ydata()) == [1.0, 0.5, 0.2]
    assert list(drawn["validation"].get_ydata()) == [0.9, 0.6, 0.7]
    assert list(drawn["training"].get_xdata()) == [1, 2, 3]
    assert list(drawn["weights kept"].get_xdata()) == [2, 2]
    assert list(lines(accuracy.picture)["training"].get_ydata()) == [0.6, 0.8, 0.95]
    assert "at the end 0.950 in training and 0.800 in validation" in accuracy.alt


def test_a_single_epoch_can_be_drawn():
    for plot in training_plots(HISTORY.iloc[:1], HISTORY.iloc[0]):
        plot.picture.draw_without_rendering()
        assert len(lines(plot.picture)["training"].get_ydata()) == 1


def test_roc_curves_enclose_their_area():
    table = draw()
    found = measure(table, CLASSES)
    drawn = lines(roc_curves(table, found))
    for name in CLASSES:
        area = found.by_class[name].auc
        line = drawn[f"{name}, AUC {area:.3f}"]
        assert auc(*line.get_data()) == pytest.approx(area)


def test_a_class_without_films_has_no_roc_curve():
    table = draw()
    table = table[table["label"] != "pneumonia"]
    drawn = lines(roc_curves(table, measure(table, CLASSES)))
    assert sorted(name.split(",")[0] for name in drawn) == ["chance", "normal", "tuberculosis"]


def test_reliability_is_scikit_learn_s_calibration_curve():
    table = draw(films=600, decimals=6)
    found = calibration(table, CLASSES, resamples=50)
    claimed = probabilities(table, CLASSES).max(axis=1)
    right = (table["label"] == table["predicted"]).to_numpy()
    share, mean = calibration_curve(right, claimed, n_bins=10)
    np.testing.assert_allclose([one.claimed for one in found.bins], mean)
    np.testing.assert_allclose([one.right.value for one in found.bins], share)
    assert sum(one.films for one in found.bins) == 600
    points = lines(reliability(found))["films, by claimed probability"]
    np.testing.assert_allclose(points.get_ydata(), share)


def test_the_confusion_plot_shows_every_count_and_share():
    table = draw()
    table = table[table["label"] != "tuberculosis"]
    found = measure(table, CLASSES)
    texts = [text.get_text() for text in confusion_plot(found).axes[0].texts]
    assert texts[0::2] == [str(count) for row in found.confusion for count in row]
    normal = sum(found.confusion[0])
    assert texts[1] == f"{found.confusion[0][0] / normal * 100:.1f}\u00a0%"
    assert texts[-1] == "no films"
    cells = confusion_plot(found).axes[0].patches
    assert len(cells) == 9
    assert cells[0].get_alpha() > cells[1].get_alpha() > cells[8].get_alpha()
