import numpy as np
import pytest
from sklearn import metrics as sk

from cxrlens.evaluation.metrics import confusion_matrix, roc_auc, roc_curve


@pytest.mark.parametrize("decimals", [1, 2, 12])
@pytest.mark.parametrize("films", [2, 5, 400])
def test_the_curve_is_scikit_learn_s(films: int, decimals: int) -> None:
    for seed in range(20):
        draw = np.random.default_rng(seed)
        # Rounding makes ties, which are where definitions part.
        score = draw.random(films).round(decimals)
        positive = draw.random(films) < 0.4
        positive[:2] = True, False
        wrong, right, _ = sk.roc_curve(positive, score, drop_intermediate=False)
        points = set(zip(wrong.round(9), right.round(9), strict=True))
        own = [corner.round(9) for corner in roc_curve(positive, score)]
        corners = list(zip(*own, strict=True))
        assert set(corners) <= points
        assert (corners[0], corners[-1]) == ((0, 0), (1, 1))
        # None but points on straight lines may be left out: scikit-learn's choice keeps one more.
        kept = zip(*(part.round(9) for part in sk.roc_curve(positive, score)[:2]), strict=True)
        assert len(set(kept) - set(corners)) <= 1
        assert roc_auc(positive, score) == pytest.approx(sk.roc_auc_score(positive, score))


def test_the_matrix_is_scikit_learn_s() -> None:
    draw = np.random.default_rng(0)
    names = np.array(["a", "b", "c", "never"])
    label, predicted = names[draw.integers(0, 3, (2, 100))]
    expected = sk.confusion_matrix(label, predicted, labels=names)
    assert confusion_matrix(label, predicted, list(names)).tolist() == expected.tolist()
