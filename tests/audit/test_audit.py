import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd
import pytest

from cxrlens.audit import Audit, audit
from cxrlens.collections.collection import Collection, collection_from
from cxrlens.errors import CollectionError
from cxrlens.phantoms import draw_phantom
from cxrlens.reports.audit import write_audit

if TYPE_CHECKING:
    from cxrlens.runs import Run

LABELS = ("normal", "tuberculosis")


def drawn_set(folder: Path, count: int, mark: bool = False, side: int = 64) -> Collection:
    """Drawn films of two sources and two classes; a mark stands in one corner of one class."""
    rows = []
    for seed in range(count):
        label, source = LABELS[seed % 2], ("phantom-a", "phantom-b")[seed // 2 % 2]
        film = draw_phantom(seed, label, max(side, 64), source=source).film
        film = cv2.resize(film, (side, side), interpolation=cv2.INTER_AREA)
        if mark and label == "tuberculosis":
            film[side // 20 : side // 8, -side // 6 : -side // 20] = 230
        cv2.imwrite(str(folder / f"{seed}.png"), film)
        rows.append((f"{seed}.png", label, f"p{seed}", source, ("train", "test")[seed // 4 % 2]))
    columns = ["image", "label", "patient", "source", "split"]
    return collection_from(pd.DataFrame(rows, columns=columns), folder, "drawn", shared_too=True)


def box_lungs(films: np.ndarray) -> np.ndarray:
    masks = np.zeros(films.shape, bool)
    side = films.shape[1]
    masks[:, side // 5 : -side // 4, side // 6 : -side // 6] = True
    return masks


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return audit(drawn_set(tmp_path_factory.mktemp("clean"), 160), box_lungs)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return audit(drawn_set(tmp_path_factory.mktemp("marked"), 160, mark=True), box_lungs)


def test_a_clean_set_is_called_clean(clean: Audit) -> None:
    assert clean.clean, [one.sentence for one in clean.findings]


def test_a_mark_in_a_corner_is_named_where_it_is(marked: Audit) -> None:
    assert not marked.clean
    places = [one for one in marked.findings if one.kind == "place"]
    assert {one.serious for one in places} == {True}
    assert all("top right corner tells tuberculosis" in one.sentence for one in places)
    assert any("in phantom-a" in one.sentence for one in places)
    assert {one.name for one in marked.maps} == {"top right corner"}


def test_what_is_told_within_a_source_is_held_against_other_sources(marked: Audit) -> None:
    across = [p for p in marked.probed if p.how == "across" and p.view == "top right corner"]
    assert {p.place for p in across} == {"phantom-a", "phantom-b"}
    assert all(p.told.auc > 0.95 for p in across)


def test_the_same_seed_says_the_same(tmp_path: Path) -> None:
    said = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        found = audit(drawn_set(tmp_path / name, 60), box_lungs)
        said.append(json.dumps(found.plain()).replace(str(tmp_path / name), ""))
    assert said[0] == said[1]


def test_the_page_shows_the_verdict_and_is_alike_twice(marked: Audit, tmp_path: Path) -> None:
    first = write_audit(tmp_path / "a.html", marked, "films.csv").read_text()
    assert first == write_audit(tmp_path / "b.html", marked, "films.csv").read_text()
    assert "top right corner tells tuberculosis" in first
    assert "<img" not in first or 'alt=""' not in first
    marked.write(tmp_path)
    kept = json.loads((tmp_path / "audit.json").read_text())
    assert not kept["clean"]
    assert (tmp_path / "copies.csv").read_text().startswith("one,other,kind")


def test_copies_and_patients_across_splits_are_leaks(tmp_path: Path) -> None:
    films = drawn_set(tmp_path, 60).films
    cv2.imwrite(str(tmp_path / "copy.jpg"), cv2.imread(films["image"].iloc[0], 0))
    (tmp_path / "same.png").write_bytes(Path(films["image"].iloc[1]).read_bytes())
    more = pd.DataFrame(
        {
            "image": ["copy.jpg", "same.png"],
            "label": ["normal", "normal"],
            "patient": ["p0", "x"],
            "source": ["phantom-a", "phantom-a"],
            "split": ["test", "train"],
        }
    )
    table = pd.concat([films, more], ignore_index=True)
    found = audit(collection_from(table, tmp_path, "leaky", shared_too=True))
    assert found.leaks.patients == ["p0"]
    assert found.leaks.pairs["kind"].tolist() == ["near copy", "same file"]
    said = " ".join(one.sentence for one in found.findings if one.serious)
    assert "1 patient have films in more than one split" in said.replace("has films", "have films")
    assert "1 pair of copies stand in different splits" in said.replace("stands", "stand")
    assert "different labels" in said


def without(*columns: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda films: films.drop(columns=list(columns))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("patient"), "no patient"),
        (without("source"), "no source"),
        (without("split", "source", "patient"), "no split"),
        (without("label"), "no labels"),
        (lambda films: films[["image"]], "no labels"),
        (lambda films: films.assign(source="here"), "one source"),
        (lambda films: films[films["label"] == "normal"], "only normal"),
        (lambda films: films[(films["label"] == "normal") | (films.index < 6)], "too few patients"),
        (lambda films: films.iloc[:1], "too few patients"),
    ],
)
def test_it_says_what_a_table_does_not_let_one_know(
    clean: Audit, change: Callable[[pd.DataFrame], pd.DataFrame], words: str, tmp_path: Path
) -> None:
    films = clean.films.table.drop(columns=["film_digest", "pixel_digest"]).iloc[:60]
    found = audit(Collection(change(films).reset_index(drop=True)), box_lungs)
    assert words in " ".join(found.unknown)
    write_audit(tmp_path / "page.html", found, "films.csv")


def test_masks_of_nothing_and_tiny_films_are_said(tmp_path: Path) -> None:
    films = drawn_set(tmp_path, 40, side=30)
    found = audit(films, lambda squares: np.zeros(squares.shape, bool))
    said = " ".join(found.unknown)
    assert "No lungs were found on 40 of 40 films" in said
    assert "40 films are smaller than 64 pixels" in said
    assert "lungs filled" not in {p.view for p in found.probed}


def test_films_that_are_gone_are_listed_and_the_rest_is_audited(tmp_path: Path) -> None:
    films = drawn_set(tmp_path, 60)
    gone = Path(films.films["image"].iloc[3])
    gone.unlink()
    Path(films.films["image"].iloc[4]).write_bytes(b"broken")
    found = audit(films)
    assert list(found.films.failures) == films.films["image"].iloc[3:5].tolist()
    assert len(found.films) == 58
    assert not found.clean
    with pytest.raises(CollectionError, match="none of the 1 films"):
        audit(Collection(films.films.iloc[3:4].reset_index(drop=True)))


def test_a_model_is_asked_without_lungs(small_run: "Run", tmp_path: Path) -> None:
    from cxrlens.audit.reliance import VARIANTS
    from cxrlens.prediction import load

    films = drawn_set(tmp_path, 80)
    found = audit(films, box_lungs, load(small_run.path))
    assert found.reliance is not None
    assert found.reliance.split == "test"
    assert {row.variant for row in found.reliance.rows} == set(VARIANTS)
    assert found.plain()["model"]["films"] == 40
    write_audit(tmp_path / "page.html", found, "films.csv", "small")
    assert "The model without lungs" in (tmp_path / "page.html").read_text()
    assert audit(films, None, load(small_run.path)).reliance is None


def test_the_verb_ends_with_1_for_what_matters_and_2_for_wrong_usage(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from cxrlens.cli import app

    collection = drawn_set(tmp_path, 60, mark=True)
    table = collection.write(tmp_path / "films.csv")
    told = CliRunner().invoke(app, ["audit", str(table), "-o", str(tmp_path / "out")])
    assert told.exit_code == 1, told.output
    assert "top right corner tells tuberculosis" in told.output.replace("\n", " ")
    for name in ("audit.html", "audit.json", "copies.csv"):
        assert (tmp_path / "out" / name).is_file()
    never = ["audit", str(table), "-o", str(tmp_path / "other"), "--fail-on", "never"]
    assert CliRunner().invoke(app, never).exit_code == 0
    wrong = ["audit", str(table), "-o", str(tmp_path / "third"), "--fail-on", "always"]
    assert CliRunner().invoke(app, wrong).exit_code == 2
    assert not (tmp_path / "third").exists()
