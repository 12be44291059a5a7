from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cxrlens.collections.collection import Collection, read_collection
from cxrlens.collections.pairs import RULES, log_sum, reduce_pairs
from cxrlens.errors import CollectionError
from cxrlens.phantoms import draw_phantom


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


@pytest.mark.parametrize("rule", RULES)
def test_the_clean_copy_stays_and_follow_ups_are_not_copies(copies: Collection, rule: str) -> None:
    reduced = reduce_pairs(copies, rule)
    assert [Path(image).name for image in reduced.kept.films["image"]] == ["P1_2.png", "P2_1.png"]
    assert [Path(image).name for image in reduced.left["kept"]] == ["P1_2.png", "P1_2.png"]
    assert (reduced.left["score"] > reduced.left["kept_score"]).all()
    words = {"report": "report: score", "robust": "robust: noisy"}[rule]
    assert reduced.left["reason"].str.startswith(words).all()


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


def test_if_no_copy_can_be_read_the_first_stays(copies: Collection) -> None:
    for image in copies.films["image"].iloc[:3]:
        Path(image).write_bytes(b"broken")
    reduced = reduce_pairs(copies)
    assert [Path(image).name for image in reduced.kept.films["image"]] == ["P1_1.png", "P2_1.png"]
    assert len(reduced.failures) == 3
    assert (reduced.left["reason"] != "").all()


def test_of_equal_copies_the_first_by_name_stays_whatever_the_order(tmp_path: Path) -> None:
    film = draw_phantom(3, "normal").film
    images = [save(tmp_path, name, film) for name in ("b.png", "a.png")]
    reduced = reduce_pairs(Collection(pd.DataFrame({"image": images, "acquisition": "P1"})))
    assert [Path(image).name for image in reduced.kept.films["image"]] == ["a.png"]
    assert "first by name" in reduced.left["reason"].iloc[0]


def test_the_rows_that_leave_keep_their_columns(copies: Collection) -> None:
    left = reduce_pairs(copies).left
    assert list(left.columns[:4]) == list(copies.films.columns)
    assert list(left.columns[4:]) == ["score", "kept", "kept_score", "reason"]


def test_own_columns_called_as_ours_stay_and_the_table_reads_back(
    copies: Collection, tmp_path: Path
) -> None:
    films = copies.films.assign(score="7", reason="mine", own_reason="more")
    reduced = reduce_pairs(Collection(films))
    assert reduced.kept.films["score"].tolist() == ["7", "7"]
    assert reduced.renamed == {"score": "own_score", "reason": "own_own_reason"}
    path = reduced.write_left(tmp_path / "deep" / "left.csv")
    back = read_collection(path).films
    assert back["own_score"].tolist() == ["7", "7"]
    assert back["own_own_reason"].tolist() == ["mine", "mine"]
    assert back["own_reason"].tolist() == ["more", "more"]
    assert back["kept"].tolist() == ["../P1_2.png", "../P1_2.png"]
    assert back["reason"].str.startswith("robust: ").all()


def test_an_unknown_rule_is_refused(copies: Collection) -> None:
    with pytest.raises(CollectionError, match="unknown rule 'best': known are report, robust"):
        reduce_pairs(copies, "best")


def test_without_acquisitions_it_says_so(copies: Collection) -> None:
    with pytest.raises(CollectionError, match="no column 'acquisition'"):
        reduce_pairs(Collection(copies.films.drop(columns="acquisition")))


def test_a_patient_written_in_two_ways_is_one(copies: Collection) -> None:
    films = copies.films.copy()
    films["patient"] = films["patient"].where(films.index % 2 == 0, films["patient"].str.lower())
    assert len(reduce_pairs(Collection(films)).left) == len(reduce_pairs(copies).left)


def test_copies_with_two_labels_are_refused(copies: Collection) -> None:
    films = copies.films.assign(label=["normal", "pneumonia", "normal", "normal"])
    with pytest.raises(CollectionError, match="'P1' differ in label"):
        reduce_pairs(Collection(films))
