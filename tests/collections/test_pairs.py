from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cxrlens.collections.collection import Collection
from cxrlens.collections.pairs import log_sum, reduce_pairs
from cxrlens.collections.phantom import draw_phantom
from cxrlens.errors import CollectionError


def save(folder: Path, name: str, film: np.ndarray) -> str:
    cv2.imwrite(str(folder / name), film)
    return str(folder / name)


@pytest.fixture
def copies(tmp_path: Path) -> Collection:
    """Two exposures of one patient: a clean film with two noisy copies, and a follow-up without."""
    rng = np.random.default_rng(0)
    clean = draw_phantom(1, "normal").film
    noisy = np.clip(clean + rng.normal(0, 12, clean.shape), 0, 255).astype(np.uint8)
    large = cv2.resize(noisy, (500, 480), interpolation=cv2.INTER_CUBIC)
    rows = [
        ("P1_1.png", noisy, "P1"),
        ("P1_2.png", clean, "P1"),
        ("P1_3.png", large, "P1"),
        ("P2_1.png", noisy, "P2"),
    ]
    table = [
        (save(tmp_path, name, film), acquisition, "H1", "normal")
        for name, film, acquisition in rows
    ]
    return Collection(pd.DataFrame(table, columns=["image", "acquisition", "patient", "label"]))


def test_the_clean_copy_stays_and_follow_ups_are_not_copies(copies: Collection) -> None:
    reduced = reduce_pairs(copies)
    assert [Path(image).name for image in reduced.kept.films["image"]] == ["P1_2.png", "P2_1.png"]
    assert [Path(image).name for image in reduced.left["kept"]] == ["P1_2.png", "P1_2.png"]
    assert (reduced.left["score"] > reduced.left["kept_score"]).all()
    assert reduced.left["reason"].str.contains("score").all()


def test_nothing_is_deleted(copies: Collection) -> None:
    reduce_pairs(copies)
    assert all(Path(image).is_file() for image in copies.films["image"])


def test_a_broken_copy_leaves_with_its_reason(copies: Collection) -> None:
    broken = copies.films["image"].iloc[1]
    Path(broken).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    reduced = reduce_pairs(copies)
    assert list(reduced.failures) == [broken]
    assert broken in reduced.left["image"].to_numpy()


def test_the_rule_ignores_the_copy_size() -> None:
    film = draw_phantom(2, "normal", side=224).film
    large = cv2.resize(film, (448, 448), interpolation=cv2.INTER_LINEAR)
    assert log_sum(large) == pytest.approx(log_sum(film), rel=0.15)


def test_the_known_fault_of_the_rule_a_blurred_copy_wins() -> None:
    film = draw_phantom(2, "normal").film
    assert log_sum(cv2.GaussianBlur(film, (0, 0), 2)) < log_sum(film)


def test_without_acquisitions_it_says_so(copies: Collection) -> None:
    with pytest.raises(CollectionError, match="no column 'acquisition'"):
        reduce_pairs(Collection(copies.films.drop(columns="acquisition")))


def test_copies_with_two_labels_are_refused(copies: Collection) -> None:
    films = copies.films.assign(label=["normal", "pneumonia", "normal", "normal"])
    with pytest.raises(CollectionError, match="'P1' differ in label"):
        reduce_pairs(Collection(films))
