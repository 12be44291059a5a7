from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cxrlens.errors import OutputError
from cxrlens.phantoms import draw_phantom, write_phantoms
from cxrlens.phantoms.defects import recalled


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "set"
    return write_phantoms(folder, 60, seed=5, side=64, defects=0.4, copies=0.3, masks=True).parent


def test_tables_and_names(written: Path) -> None:
    films = pd.read_csv(written / "films.csv")
    columns = ["image", "label", "patient", "acquisition", "source", "view", "age", "sex"]
    assert list(films) == columns
    assert films.image.str.fullmatch(r"images/P\d{5}_[12]\.(png|jpg)").all()
    assert all((written / image).is_file() for image in films.image)
    assert len(list((written / "images").iterdir())) == len(films)
    assert {Path(image).suffix for image in films.image} == {".png", ".jpg"}
    assert (films.image.str.extract(r"(P\d{5})")[0] == films.acquisition).all()
    assert films.acquisition.nunique() == 60
    shares = films.drop_duplicates("acquisition").label.value_counts()
    assert shares.to_dict() == {"normal": 24, "pneumonia": 18, "tuberculosis": 18}


def test_follow_ups_and_copies(written: Path) -> None:
    films = pd.read_csv(written / "films.csv")
    exposures = films.drop_duplicates("acquisition").groupby("patient").size()
    assert exposures.max() == 2
    assert films.groupby("patient")[["label", "age", "sex"]].nunique().max().max() == 1
    truth = pd.read_csv(written / "truth.csv", keep_default_na=False)
    pairs = truth[truth.copies == 2].groupby("acquisition")
    assert len(pairs) > 8
    clean_first = []
    for _, pair in pairs:
        assert sorted(pair.copy_number) == [1, 2]
        assert (pair.kinds == "").sum() == 1
        clean_first.append(bool(pair.sort_values("copy_number").kinds.iloc[0] == ""))
    assert 0 < sum(clean_first) < len(clean_first)


def test_truth_replays_to_the_written_films(written: Path) -> None:
    truth = pd.read_csv(written / "truth.csv", keep_default_na=False)
    damaged = truth[(truth.kinds != "") & truth.image.str.endswith(".png")]
    assert len(damaged) > 5
    for row in damaged.itertuples():
        film = draw_phantom(row.seed, row.label, 64, patient=row.patient_seed).film
        for defect in recalled(row.defects):
            film = defect.apply(film).film
        on_disk = cv2.imread(str(written / row.image), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(on_disk, film)


def test_masks_fit_their_films(written: Path) -> None:
    truth = pd.read_csv(written / "truth.csv", keep_default_na=False)
    for row in truth.itertuples():
        film = cv2.imread(str(written / row.image), cv2.IMREAD_UNCHANGED)
        name = Path(row.image).stem
        lungs = cv2.imread(str(written / "masks" / f"{name}_lungs.png"), cv2.IMREAD_UNCHANGED)
        lesions = cv2.imread(str(written / "masks" / f"{name}_lesions.png"), cv2.IMREAD_UNCHANGED)
        assert film.shape == lungs.shape == lesions.shape
        assert set(np.unique(lungs)) == {0, 255}
        assert lesions.any() == (row.label != "normal")


def test_boxes_hold_the_lesions_and_little_else(written: Path) -> None:
    boxes = pd.read_csv(written / "boxes.csv")
    truth = pd.read_csv(written / "truth.csv", keep_default_na=False).set_index("image")
    assert set(boxes.image) == set(truth.index[truth.label != "normal"])
    held = []
    for image, rows in boxes.groupby("image"):
        mask = written / "masks" / f"{Path(image).stem}_lesions.png"
        lesions = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED) > 0
        inside = np.zeros_like(lesions)
        height, width = lesions.shape
        for x0, y0, x1, y1 in rows[["x0", "y0", "x1", "y1"]].to_numpy():
            inside[
                round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)
            ] = 1
        held.append(float((lesions & inside).sum() / lesions.sum()))
        assert inside.mean() < 0.5
    assert min(held) > 0.8
    assert np.mean(held) > 0.98


def test_the_table_of_lungs_names_every_mask(written: Path) -> None:
    lungs = pd.read_csv(written / "lungs.csv")
    assert lungs.image.tolist() == pd.read_csv(written / "films.csv").image.tolist()
    assert all((written / mask).is_file() for mask in lungs["mask"])


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    folders = []
    for name in ("first", "again"):
        done: list[tuple[int, int]] = []
        folder = tmp_path / name
        write_phantoms(
            folder,
            12,
            seed=3,
            side=64,
            defects=0.5,
            copies=0.5,
            progress=lambda *step, done=done: done.append(step),  # type: ignore[misc]
        )
        assert done == [(k, 12) for k in range(1, 13)]
        folders.append(_contents(folder))
    assert folders[0] == folders[1]


def test_another_seed_writes_other_films(tmp_path: Path) -> None:
    first = write_phantoms(tmp_path / "a", 3, seed=1, side=64).read_text(encoding="utf-8")
    other = write_phantoms(tmp_path / "b", 3, seed=2, side=64).read_text(encoding="utf-8")
    assert first != other


@pytest.mark.slow
def test_nothing_of_the_exposure_goes_with_the_class(tmp_path: Path) -> None:
    table = write_phantoms(tmp_path / "a", 400, seed=9, side=64, defects=0.3)
    truth = pd.read_csv(table).merge(pd.read_csv(table.with_name("truth.csv"))[["image", "kinds"]])
    truth["damaged"] = truth.kinds.notna()
    truth["jpeg"] = truth.image.str.endswith("jpg")
    n = truth.label.value_counts()
    for name in ("view", "sex", "source", "damaged", "jpeg"):
        parts = pd.crosstab(truth.label, truth[name], normalize="index").iloc[:, 0]
        # three standard errors of a share among the smallest class
        assert parts.max() - parts.min() < 3 * np.sqrt(0.5 * 0.5 * 2 / n.min())
    ages = truth.groupby("label").age.mean()
    assert ages.max() - ages.min() < 3 * truth.age.std() * np.sqrt(2 / n.min())


def test_an_occupied_folder_is_kept(tmp_path: Path) -> None:
    keep = tmp_path / "a" / "mine.txt"
    keep.parent.mkdir()
    keep.write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="--force"):
        write_phantoms(keep.parent, 2, side=64)
    assert keep.read_text(encoding="utf-8") == "mine"
    with pytest.raises(OutputError, match="holds no drawn films"):
        write_phantoms(keep.parent, 2, side=64, force=True)
    assert keep.read_text(encoding="utf-8") == "mine"
    drawn = write_phantoms(tmp_path / "b", 2, side=64)
    assert write_phantoms(drawn.parent, 3, side=64, force=True).read_text().count("\n") == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count is 0"),
        ({"defects": 1.5}, "defects is 1.5"),
        ({"side": 8}, "side is 8"),
    ],
)
def test_wrong_settings_are_named(
    tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_phantoms(tmp_path / "a", **{"count": 2, **arguments})  # type: ignore[arg-type]
    assert not (tmp_path / "a").exists()
