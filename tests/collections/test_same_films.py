import os
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxrlens.collections.collection import Collection
from cxrlens.collections.combine import fold, split
from cxrlens.collections.same_films import (
    people,
    refuse_contradictions,
    same_bytes,
    same_pixels,
    same_rows,
    told,
)
from cxrlens.errors import CollectionError
from cxrlens.reports.overview import write_overview

NAMES = ("normal", "pneumonia", "tuberculosis")


def drawn(path: Path, seed: int) -> str:
    levels = np.random.default_rng(seed).integers(0, 256, (16, 20), np.uint8)
    Image.fromarray(levels).save(path)
    return str(path)


def table(tmp_path: Path, films: int = 30) -> pd.DataFrame:
    rows = [
        {
            "image": drawn(tmp_path / f"{n:02d}.png", n),
            "label": NAMES[n % 3],
            "patient": f"p{n // 2}",
        }
        for n in range(films)
    ]
    return pd.DataFrame(rows).astype("string")


def with_copies(films: pd.DataFrame, copy, label=lambda label: label) -> pd.DataFrame:
    twins = films.assign(
        image=[copy(image) for image in films["image"]],
        patient=[f"q{n}" for n in range(len(films))],
        label=films["label"].map(label),
    )
    return pd.concat([films, twins], ignore_index=True).astype("string")


def byte_copy(image: str) -> str:
    return shutil.copy(image, image.replace(".png", "-copy.png"))


def saved_anew(image: str) -> str:
    path = image.replace(".png", ".bmp")
    Image.open(image).save(path)
    return path


@pytest.mark.parametrize(("copy", "find"), [(byte_copy, same_bytes), (saved_anew, same_pixels)])
def test_all_copies_of_a_film_and_their_patients_go_into_one_split(tmp_path, copy, find) -> None:
    films = with_copies(table(tmp_path), copy)
    same = find(films["image"].tolist())
    assert (same[:30] == same[30:]).all()
    assert len(set(same)) == 30
    dealt = fold(split(Collection(films), same=same), 2, same=same).films
    for column in ("split", "fold"):
        kept = dealt[column].astype("string").fillna("")
        assert kept[:30].tolist() == kept[30:].tolist()
        assert (kept.groupby(dealt["patient"]).nunique() == 1).all()
    assert set(dealt["split"]) == {"train", "validation", "test"}


def test_split_and_fold_find_copies_by_themselves(tmp_path) -> None:
    films = with_copies(table(tmp_path), byte_copy).drop(columns="patient")
    dealt = fold(split(Collection(films)), 3).films
    assert dealt["split"][:30].tolist() == dealt["split"][30:].tolist()
    parts = dealt["fold"].fillna(-1)
    assert parts[:30].tolist() == parts[30:].tolist()


def test_a_split_without_copies_is_as_it_was(tmp_path) -> None:
    films = table(tmp_path)
    alone = np.arange(len(films))
    assert people(films, alone).tolist() == films["patient"].tolist()
    assert split(Collection(films)).films.equals(split(Collection(films), same=alone).films)


def test_patients_are_one_by_a_chain_of_shared_films() -> None:
    patients = [*"abcd", *"bcde", None, "z"]
    films = pd.DataFrame({"image": [f"{n}.png" for n in range(10)], "patient": patients})
    same = np.array([0, 1, 2, 3, 0, 1, 2, 7, 8, 9])  # a-b, b-c, c-d; e, nobody and z alone
    found = people(films, same)
    assert found.tolist() == ["a", "a", "a", "a", "a", "a", "a", "e", "8.png", "z"]


def test_people_are_those_of_a_graph_search() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        count = int(random.integers(2, 40))
        films = pd.DataFrame({"image": [f"{n}.png" for n in range(count)]})
        films["patient"] = [f"p{n}" for n in random.integers(0, count, count)]
        same = random.integers(0, count, count)
        linked = {n: {n} for n in range(count)}
        for of in (films["patient"], pd.Series(same)):
            for members in of.groupby(of).groups.values():
                for one, other in pairwise(members):
                    linked[one].add(other)
                    linked[other].add(one)
        found = people(films, same)
        for start in range(count):
            seen, queue = {start}, [start]
            while queue:
                new = linked[queue.pop()] - seen
                seen |= new
                queue += new
            assert set(films.index[found == found[start]]) == seen
            assert found[start] == min(films["patient"][list(seen)])


def test_missing_empty_and_blank_films_are_the_same_as_none(tmp_path) -> None:
    images = [drawn(tmp_path / "a.png", 1), str(tmp_path / "gone.png"), str(tmp_path / "gone2.png")]
    for name, grey in (("black", 0), ("black2", 0), ("white", 255)):
        Image.new("L", (8, 8), grey).save(tmp_path / f"{name}.png")
        images.append(str(tmp_path / f"{name}.png"))
    for name in ("empty", "empty2"):
        (tmp_path / name).touch()
        images.append(str(tmp_path / name))
    for find in (same_bytes, same_pixels):
        same = find(images).tolist()
        assert same[3] == same[4]  # the same bytes, whatever they show
        assert len(set(same[:4] + same[5:6])) == 5
    assert len(set(same_bytes(images)[6:])) == 2


def test_in_the_cache(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8), np.uint8)
    pixels[2] = pixels[0]
    pixels[3] = 7
    rows = np.array([0, 1, 2, 3, 3, -1, -1, 1])
    assert same_rows(pixels, rows).tolist() == [0, 1, 0, 3, 3, 5, 6, 1]


def test_what_contradicts_itself_is_told_and_refused(tmp_path) -> None:
    films = with_copies(table(tmp_path, 3), byte_copy, lambda label: "normal")
    same = same_bytes(films["image"].tolist())
    said = told(films, same)
    assert said[0].startswith("6 files hold 3 films, each there more than once")
    assert said[1].startswith("2 of them with more than one label: ")
    assert "01.png (pneumonia) and" in said[1]
    assert "01-copy.png (normal)" in said[1]
    assert said[2].startswith("3 of them with more than one patient")
    with pytest.raises(
        CollectionError, match=r"2 films are there twice with two labels: .*01\.png"
    ):
        refuse_contradictions(films, same)
    films["label"] = "normal"
    films["split"] = ["train"] * 5 + ["test"]
    with pytest.raises(
        CollectionError, match=r"1 films are there twice in two splits.*split --pixels"
    ):
        refuse_contradictions(films, same)
    films["split"] = "train"
    refuse_contradictions(films, same)
    assert told(films[:3], same[:3]) == []


def test_the_overview_tells_them(tmp_path) -> None:
    films = with_copies(table(tmp_path, 3), saved_anew, lambda label: "normal")
    found = write_overview(Collection(films), tmp_path / "page.html")
    assert found.twice[0].startswith("6 files hold 3 films")
    assert found.twice[1].startswith("2 of them with more than one label")
    assert "2 of them with more than one label" in (tmp_path / "page.html").read_text()


def test_only_files_of_one_size_are_read(tmp_path, monkeypatch) -> None:
    paths = [tmp_path / f"{n}.png" for n in range(1000)]
    for n, path in enumerate(paths):
        path.write_bytes(bytes(n + 1))
    shutil.copy(paths[7], tmp_path / "again.png")
    read = []
    monkeypatch.setattr(
        "cxrlens.collections.same_films.file_digest", lambda path: read.append(path) or "same"
    )
    same = same_bytes([*map(str, paths), str(tmp_path / "again.png")])
    assert same[-1] == 7
    assert sorted(map(os.path.basename, read)) == ["7.png", "again.png"]
