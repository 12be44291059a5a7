import numpy as np
import pytest

from cxrlens.quality import Examination, Finding


def test_the_threshold_scores_one_half_and_is_not_beyond() -> None:
    finding = Finding.beyond(3.0, 3.0, 0.5)
    assert finding == Finding(False, 0.5)


@pytest.mark.parametrize("value", [-1e9, -1.0, 0.0, 3.0 - 1e-6, 3.0 + 1e-6, 5.0, 1e9])
def test_present_and_score_agree(value: float) -> None:
    finding = Finding.beyond(value, 3.0, 0.5)
    assert finding.present == (finding.score > 0.5)
    assert 0.0 <= finding.score <= 1.0


def test_score_grows_with_the_statistic() -> None:
    scores = [Finding.beyond(v, 10.0, 2.0).score for v in np.linspace(0, 20, 41)]
    assert np.all(np.diff(scores) > 0)


def test_row_has_the_promised_columns_in_order() -> None:
    findings = {"negative": Finding(True, 0.9), "noisy": Finding(False, 0.2)}
    row = Examination(np.zeros((2, 2), np.uint8), findings, ("invert", "smooth")).row()
    assert list(row) == ["negative", "negative_score", "noisy", "noisy_score", "repairs"]
    assert row["negative"] is True
    assert row["repairs"] == "invert smooth"


def test_row_of_a_film_without_repairs_is_an_empty_word() -> None:
    assert Examination(np.zeros((2, 2), np.uint8)).row() == {"repairs": ""}
