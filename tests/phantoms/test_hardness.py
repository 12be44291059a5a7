"""A thumbnail must not give the class away; what a network reaches is measured in benchmarks/."""

import cv2
import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score

from cxrlens.phantoms import draw_phantom
from cxrlens.phantoms.film import LABELS

_TRAIN, _TEST = 1000, 500


@pytest.mark.slow
def test_a_ridge_on_thumbnails_does_not_solve_the_set() -> None:
    truth = np.random.default_rng(0).integers(3, size=_TRAIN + _TEST)
    thumbnails = np.stack(
        [
            cv2.resize(draw_phantom(k, LABELS[t]).film, (16, 16), interpolation=cv2.INTER_AREA)
            for k, t in enumerate(truth)
        ]
    )
    x = thumbnails.reshape(len(truth), -1) / 255.0
    for alpha in (0.1, 1.0, 10.0, 100.0):
        ridge = RidgeClassifier(alpha=alpha).fit(x[:_TRAIN], truth[:_TRAIN])
        scores = ridge.decision_function(x[_TRAIN:])
        areas = [roc_auc_score(truth[_TRAIN:] == k, scores[:, k]) for k in range(3)]
        assert np.mean(areas) <= 0.75
