"""Each step of the report's chain finds its defect on drawn films and mends it."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cxrlens.quality import Chain
from cxrlens.quality.detail import QuietResponse, ResponseVariance
from cxrlens.quality.exposure import CornerNegative, DarkMean, bright_corner_share, invert
from cxrlens.quality.step import Step, settings, thresholds
from cxrlens.radiographs import resize

Film = NDArray[np.uint8]


def step(defect: str) -> Step:
    (only,) = Chain.named("report", steps=(defect,)).steps
    return only


def share_found(defect: str, films: list[Film]) -> float:
    looking = step(defect)
    return float(np.mean([looking.detect(resize(film, 224)).present for film in films]))


def test_settings_say_where_they_come_from() -> None:
    origin = thresholds("report")["provenance"]
    assert {"script", "date", "films", "rule", "measured_there"} <= set(origin)
    assert set(origin["measured_there"]) == set(settings("report"))
    assert settings("report")["underexposed"]["mean"] == 71
    assert settings("report")["blurred"]["level"] == 2
    assert settings("report")["negative"]["share"] == 0.5


def test_corner_share_counts_only_the_four_corners() -> None:
    film = np.zeros((100, 100), np.uint8)
    film[:10, :10] = 255
    assert bright_corner_share(film, 0.1) == pytest.approx(0.25)
    assert bright_corner_share(film, 0.2) == pytest.approx(0.25 / 4)
    film[50, 50] = 255
    assert bright_corner_share(film, 0.1) == pytest.approx(0.25)


def test_invert_is_its_own_inverse(films: list[Film]) -> None:
    assert invert(films[0])[3, 5] == 255 - films[0][3, 5]
    np.testing.assert_array_equal(invert(invert(films[0])), films[0])


def test_negatives_are_found_and_inverted(films: list[Film]) -> None:
    looking = step("negative")
    assert isinstance(looking, CornerNegative)
    dark_corners = np.full((224, 224), 20, np.uint8)
    cv2.circle(dark_corners, (112, 112), 80, 220, -1)
    assert not looking.detect(dark_corners).present
    assert looking.detect(invert(dark_corners)).present
    np.testing.assert_array_equal(looking.repair(invert(dark_corners)), dark_corners)
    assert share_found("negative", [invert(f) for f in films]) > share_found("negative", films)


def test_underexposure_is_a_mean_below_71() -> None:
    looking = step("underexposed")
    assert isinstance(looking, DarkMean)
    assert looking.detect(np.full((224, 224), 70, np.uint8)).present
    assert looking.detect(np.full((224, 224), 71, np.uint8)).score == 0.5
    assert not looking.detect(np.full((224, 224), 71, np.uint8)).present


def test_dark_films_are_found_and_brighter_afterwards(films: list[Film]) -> None:
    dark = [(film * (45 / film.mean())).astype(np.uint8) for film in films]
    assert share_found("underexposed", dark) == 1
    repaired = step("underexposed").repair(resize(dark[0], 224))
    assert repaired.std() > resize(dark[0], 224).std()


def test_noise_is_found_and_smoothed(films: list[Film]) -> None:
    looking = step("noisy")
    assert isinstance(looking, ResponseVariance)
    rng = np.random.default_rng(1)
    noisy = [np.clip(f + rng.normal(0, 25, f.shape), 0, 255).astype(np.uint8) for f in films]
    values = [looking.statistic(f) for f in films]
    assert min(looking.statistic(f) for f in noisy) > max(values)
    repaired = looking.repair(noisy[0])
    before = np.mean(cv2.absdiff(noisy[0], films[0]))
    assert np.mean(cv2.absdiff(repaired, films[0])) < before / 2


def test_blur_is_found_and_sharpened(films: list[Film]) -> None:
    looking = step("blurred")
    assert isinstance(looking, QuietResponse)
    blurred = [np.asarray(cv2.GaussianBlur(film, (0, 0), 3), np.uint8) for film in films]
    pairs = zip(films, blurred, strict=True)
    assert all(looking.statistic(b) < looking.statistic(f) for f, b in pairs)
    repaired = looking.repair(blurred[0])
    sharpness = [cv2.Laplacian(f, cv2.CV_32F).var() for f in (blurred[0], repaired)]
    assert sharpness[1] > sharpness[0]


def test_blur_variance_is_that_of_the_binary_picture(films: list[Film]) -> None:
    looking = step("blurred")
    assert isinstance(looking, QuietResponse)
    flat = np.full((224, 224), 90, np.uint8)
    assert looking.statistic(flat) == 0
    assert 0 < looking.statistic(films[0]) <= 255**2 / 4
