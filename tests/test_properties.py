"""What holds of any films, scores, boxes and masks, tried on drawn ones by hypothesis."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrlens.collections.collection import SIDES, Boxes, Collection, read_boxes
from cxrlens.collections.combine import SHARES, fold, split
from cxrlens.collections.pairs import reduce_pairs
from cxrlens.evaluation.metrics import confusion_matrix, roc_auc, roc_curve
from cxrlens.lungs.fields import Lungs

CLASSES = ["normal", "pneumonia", "tuberculosis"]
few = settings(max_examples=25, deadline=None, derandomize=True)


@st.composite
def films(draw: st.DrawFn) -> Collection:
    """Films of patients with one label each, at least six patients a class; some patients have several."""
    counts = {
        label: draw(st.lists(st.integers(1, 4), min_size=6, max_size=12)) for label in CLASSES
    }
    rows = [
        {
            "image": f"/no/{label}/{patient}-{film}.png",
            "label": label,
            "patient": f"{label}{patient}",
        }
        for label, of in counts.items()
        for patient, several in enumerate(of)
        for film in range(several)
    ]
    table = pd.DataFrame(rows).astype("string")
    return Collection(table)


@few
@given(films(), st.integers(0, 5), st.randoms(use_true_random=False))
def test_a_patient_stays_in_one_split_whatever_the_order(of: Collection, seed: int, random) -> None:
    same = np.arange(len(of.films))
    parts = split(of, seed, same=same).films
    assert set(parts["split"]) <= set(SHARES)
    assert len(parts) == len(of.films)
    assert (parts.groupby("patient")["split"].nunique() == 1).all()
    order = random.sample(range(len(of.films)), len(of.films))
    mixed = split(of.of(of.films.iloc[order].reset_index(drop=True)), seed, same=same).films
    assert dict(zip(parts["image"], parts["split"], strict=True)) == dict(
        zip(mixed["image"], mixed["split"], strict=True)
    )


@few
@given(films(), st.integers(2, 5))
def test_folds_part_patients_and_leave_the_test_films(of: Collection, folds: int) -> None:
    same = np.arange(len(of.films))
    parts = fold(split(of, same=same), folds, same=same).films
    tested = parts["split"] == "test"
    assert parts.loc[tested, "fold"].isna().all()
    rest = parts[~tested]
    assert set(rest["fold"]) == set(range(folds))
    assert (rest.groupby("patient")["fold"].nunique() == 1).all()


scores = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40).filter(
    lambda of: len({so for so, _ in of}) == 2
)


@few
@given(scores)
def test_the_area_is_the_chance_of_ranking_right(of: list[tuple[bool, int]]) -> None:
    so, score = (np.array(column) for column in zip(*of, strict=True))
    ours, rest = score[so], score[~so]
    wins = np.mean([(x > y) + (x == y) / 2 for x in ours for y in rest])
    assert np.isclose(roc_auc(so, score.astype(float)), wins)
    assert np.isclose(roc_auc(so, -score.astype(float)), 1 - wins)
    assert np.isclose(roc_auc(so, np.exp(score.astype(float))), wins)
    wrong, right = roc_curve(so, score.astype(float))
    assert (np.diff(wrong) >= 0).all()
    assert (np.diff(right) >= 0).all()
    assert (wrong[0], right[0], wrong[-1], right[-1]) == (0, 0, 1, 1)


@few
@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), max_size=30))
def test_a_confusion_matrix_counts_every_film_once(of: list[tuple[str, str]]) -> None:
    label, called = [a for a, _ in of], [b for _, b in of]
    counts = confusion_matrix(label, called, CLASSES)
    assert counts.sum() == len(of)
    assert (counts.sum(1) == [label.count(name) for name in CLASSES]).all()
    assert (counts.sum(0) == [called.count(name) for name in CLASSES]).all()
    assert (confusion_matrix(called, label, CLASSES) == counts.T).all()


@few
@given(
    st.integers(20, 90), st.integers(20, 90), st.tuples(*[st.integers(0, 8)] * 4), st.integers(0, 9)
)
def test_lungs_stay_within_what_was_looked_at(
    height: int, width: int, cropped: tuple[int, int, int, int], seed: int
) -> None:
    likely = np.random.default_rng(seed).integers(0, 256, (16, 16)).astype(np.uint8)
    likely[4:12, 2:7] = likely[4:12, 9:14] = 255
    lungs = Lungs(likely, 0.0, 0.0).within((height, width), cropped)
    mask = lungs.mask((height, width))
    top, bottom, left, right = cropped
    assert mask.shape == (height, width)
    outside = mask.copy()
    outside[top : height - bottom, left : width - right] = False
    assert not outside.any()
    for polygon in lungs.outline():
        assert all(-1e-9 <= value <= 1 + 1e-9 for point in polygon for value in point)
    assert 0 <= lungs.share <= 1


@few
@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=12))
def test_of_copies_one_stays_even_where_none_can_be_read(acquisitions: list[str | None]) -> None:
    table = {"image": [f"/no/{place:02}.png" for place in range(len(acquisitions))]}
    of = pd.DataFrame(table | {"acquisition": acquisitions}).astype("string")
    reduced = reduce_pairs(Collection(of))
    assert sorted([*reduced.kept.films["image"], *reduced.left["image"]]) == list(of["image"])
    kept = reduced.kept.films["acquisition"]
    assert sorted(kept.dropna()) == sorted({one for one in acquisitions if one})
    assert kept.isna().sum() == acquisitions.count(None)


side = st.tuples(st.floats(0, 0.99), st.floats(0, 1)).map(
    lambda of: (of[0], of[0] + 0.01 + of[1] * (0.99 - of[0]))
)


@few
@given(st.lists(st.tuples(side, side), min_size=1, max_size=6))
def test_boxes_come_back_as_they_were_written(drawn: list[tuple[tuple[float, float], ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        image = str(Path(folder).resolve() / "film.png")
        rows = [(image, "opacity", x[0], y[0], x[1], y[1]) for x, y in drawn]
        table = pd.DataFrame(rows, columns=["image", "finding", *SIDES])
        table[list(SIDES)] = table[list(SIDES)].clip(0, 1)
        back = read_boxes(Boxes(table).write(Path(folder) / "boxes.csv")).table
    pd.testing.assert_frame_equal(back[list(table)], table, check_dtype=False, rtol=1e-12)
