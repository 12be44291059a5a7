import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrlens.collections.collection import Collection, read_collection
from cxrlens.collections.survey import Shelf, detection_steps, survey
from cxrlens.errors import OutputError
from cxrlens.phantoms import draw_phantom, write_phantoms
from cxrlens.quality.chain import Chain
from cxrlens.reports.overview import contradictions, write_overview


@pytest.fixture
def damaged(tmp_path: Path) -> Collection:
    return read_collection(write_phantoms(tmp_path / "set", 24, seed=5, side=96, defects=0.5))


def test_the_page_has_its_parts_and_says_so_twice_alike(
    damaged: Collection, tmp_path: Path
) -> None:
    assert write_overview(damaged, tmp_path / "a.html").failures == {}
    write_overview(damaged, tmp_path / "b.html")
    page = (tmp_path / "a.html").read_text()
    assert page == (tmp_path / "b.html").read_text()
    for words in ("Films by source and class", "96 × 96", "Defects found", "Sample sheets", "LoG"):
        assert words in page
    with pytest.raises(OutputError):
        write_overview(damaged, tmp_path / "a.html")


def test_statistics_are_those_of_the_film(damaged: Collection) -> None:
    from cxrlens.radiographs.read import read_radiograph

    row = survey(damaged, Chain.named("none")).films.iloc[3]
    film = read_radiograph(row["image"])
    assert row["mean"] == pytest.approx(film.mean())
    assert row["std"] == pytest.approx(film.std())
    assert abs(row["p50"] - np.median(film)) <= 1


def test_columns_of_the_survey_s_names_do_not_clash(damaged: Collection, tmp_path: Path) -> None:
    films = damaged.films.assign(width=1, mode="L", noisy=True)
    seen = survey(Collection(films), Chain.named("robust"))
    assert (seen.films["width"] >= 96).all()
    assert write_overview(Collection(films), tmp_path / "page.html").failures == {}


def test_a_broken_film_is_listed(damaged: Collection, tmp_path: Path) -> None:
    broken = damaged.films["image"].iloc[0]
    Path(broken).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    failures = write_overview(damaged, tmp_path / "page.html").failures
    assert list(failures) == [broken]
    assert "1 films could not be read" in (tmp_path / "page.html").read_text()


def test_a_table_of_images_alone_will_do(damaged: Collection, tmp_path: Path) -> None:
    assert (
        write_overview(Collection(damaged.films[["image"]]), tmp_path / "page.html").failures == {}
    )


def test_a_shelf_keeps_the_lowest_ranks_and_of_ties_the_first_by_name_in_any_order() -> None:
    offers = [(1.0, name) for name in "dbca"] + [(0.0, "z"), (2.0, "0"), (0.0, "z")]
    for order in (offers, offers[::-1]):
        shelf = Shelf(3)
        for rank, name in order:
            shelf.offer(rank, name, np.zeros((4, 4), np.uint8))
        assert [name for name, _ in shelf.films()] == ["z", "a", "b"]


def test_every_detector_s_steps_are_shown_even_if_no_film_is_damaged(tmp_path: Path) -> None:
    clean = read_collection(write_phantoms(tmp_path / "set", 9, seed=1, defects=0.0))
    write_overview(clean, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for defect in ("negative", "underexposed", "noisy", "blurred"):
        assert f"a film found not {defect}" in page


def test_contradictions_are_found() -> None:
    films = pd.DataFrame(
        {
            "image": ["a", "b", "c"],
            "pixels": ["x", "x", "y"],
            "label": ["normal", "pneumonia", "normal"],
            "age": [5.0, 6.0, 999.0],
        }
    )
    assert contradictions(films)["image"].tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("defect", "count"), [("negative", 3), ("underexposed", 2), ("noisy", 5), ("blurred", 5)]
)
def test_steps_are_the_report_s(defect: str, count: int) -> None:
    pictures, words = detection_steps(defect, draw_phantom(1, "normal").film)
    assert len(pictures) == count
    assert all(picture.shape == (224, 224) and picture.dtype == np.uint8 for _, picture in pictures)
    assert "threshold" in words


def test_the_verb_ends_with_1_for_a_broken_film(damaged: Collection, tmp_path: Path) -> None:
    Path(damaged.films["image"].iloc[0]).write_bytes(b"broken")
    command = [sys.executable, "-m", "cxrlens", "explore", str(tmp_path / "set" / "films.csv")]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "o.html")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert (tmp_path / "o.html").is_file()
    assert "Traceback" not in done.stderr
