import json
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from cxrlens.collections.collection import Collection
from cxrlens.errors import CxrlensError, FilmError, OutputError, RunError
from cxrlens.phantoms import draw_phantom
from cxrlens.prediction import Predictor
from cxrlens.prediction.table import predict_films
from cxrlens.quality.chain import Chain
from cxrlens.reports.explained import explain_films
from cxrlens.runs import Run

CLASSES = ["normal", "pneumonia", "tuberculosis"]


@pytest.fixture(scope="module")
def predictor(small_run: Run) -> Predictor:
    return Predictor.load(small_run.path)


def test_a_film_is_predicted_as_it_was_in_training(predictor: Predictor, small_run: Run) -> None:
    for _, row in small_run.predictions("test").iterrows():
        prediction = predictor.predict(row["image"])
        assert prediction.predicted == row["predicted"]
        assert [prediction.probabilities[name] for name in CLASSES] == pytest.approx(
            row[CLASSES].tolist(), abs=1e-5
        )
        assert prediction.findings["negative"] == row["negative"]
        assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_a_run_takes_the_devices_that_are_there_and_refuses_others_in_a_sentence(
    predictor: Predictor, small_run: Run, phantoms: Collection
) -> None:
    film = phantoms.films["image"].iloc[0]
    auto = Predictor.load(small_run.path, "auto").predict(film)
    assert auto.scores == pytest.approx(predictor.predict(film).scores, abs=0.1)
    with pytest.raises(CxrlensError, match="--device gpu: known are auto, cpu, cuda, mps"):
        Predictor.load(small_run.path, "gpu")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    for device in (name for name, here in there.items() if not here):
        with pytest.raises(CxrlensError, match=f"--device {device}: this machine has none"):
            Predictor.load(small_run.path, device)


def test_pixels_and_files_are_alike(predictor: Predictor, phantoms: Collection) -> None:
    image = next(path for path in phantoms.films["image"] if path.endswith(".png"))
    pixels = cv2.imread(image, cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    assert predictor.predict(pixels).probabilities == predictor.predict(image).probabilities


def test_the_map_has_the_film_s_own_geometry(predictor: Predictor, phantoms: Collection) -> None:
    pixels = cv2.imread(phantoms.films["image"].iloc[0], cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    heat = predictor.predict(cv2.resize(pixels, (90, 130))).explain(target="tuberculosis")
    assert heat.values.shape == (130, 90)
    assert heat.target == "tuberculosis"
    assert heat.values.min() >= 0
    assert heat.values.max() == pytest.approx(1, abs=0.15)
    with pytest.raises(CxrlensError, match="unknown method 'gradcan': known are evidence, gradcam"):
        predictor.predict(pixels).explain("gradcan")
    with pytest.raises(CxrlensError, match="unknown class 'covid'"):
        predictor.predict(pixels).explain(target="covid")


def test_a_broken_film_among_many(
    predictor: Predictor, phantoms: Collection, tmp_path: Path
) -> None:
    films = [Path(image) for image in phantoms.films["image"]]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1].tobytes()[:300])
    films.insert(5, broken)
    result = predict_films(predictor, films, tmp_path / "out.csv")
    assert list(result.failures) == [str(broken)]
    assert len(result.table) == len(films) - 1
    with pytest.raises(FilmError, match=r"broken\.jpg"):
        predictor.predict(broken)


def test_csv_and_json_hold_the_same(
    predictor: Predictor, phantoms: Collection, tmp_path: Path
) -> None:
    films = [Path(image) for image in phantoms.films["image"][:5]]
    table = predict_films(predictor, films, tmp_path / "a.csv").table
    predict_films(predictor, films, tmp_path / "a.json")
    said = ["image", "predicted", "reason", "suggests", *CLASSES]
    scored = ["score_pneumonia", "score_tuberculosis", "doubt", "calibrated"]
    assert list(table.columns[:11]) == [*said, *scored]
    assert list(table.columns[-2:]) == ["digest", "site"]
    assert {"negative", "negative_score", "repairs"} <= {*table}
    from_json = pd.DataFrame(json.loads((tmp_path / "a.json").read_text()))
    from_csv = pd.read_csv(tmp_path / "a.csv")
    assert from_json[CLASSES].to_numpy() == pytest.approx(from_csv[CLASSES].to_numpy())
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(OutputError, match="exists already"):
        predict_films(predictor, films, tmp_path / "a.csv")


def test_an_interrupted_table_is_taken_up(
    predictor: Predictor, phantoms: Collection, tmp_path: Path
) -> None:
    films = [Path(image) for image in phantoms.films["image"]]
    whole = predict_films(predictor, films, tmp_path / "whole.csv").table
    lines = (tmp_path / "whole.csv").read_text().splitlines(keepends=True)
    (tmp_path / "cut.csv.part").write_text("".join(lines[:11]) + lines[11][:20])
    seen: list[int] = []
    result = predict_films(
        predictor, films, tmp_path / "cut.csv", resume=True, progress=lambda _, of: seen.append(of)
    )
    assert set(seen) == {len(films) - 10}
    assert result.table["image"].tolist() == whole["image"].tolist()
    assert pd.read_csv(tmp_path / "cut.csv")[CLASSES].to_numpy() == pytest.approx(
        whole[CLASSES].to_numpy(), abs=1e-5
    )


def test_rows_of_two_models_are_not_mixed(
    predictor: Predictor, phantoms: Collection, tmp_path: Path
) -> None:
    films = [Path(image) for image in phantoms.films["image"][:6]]
    table = predict_films(predictor, films[:3], tmp_path / "a.csv").table
    assert set(table["digest"]) == {predictor.digest}
    other = Predictor(
        predictor.network, predictor.decision, predictor.chain, predictor.classes, "0123456789ab"
    )
    before = (tmp_path / "a.csv").read_bytes()
    with pytest.raises(OutputError, match="rows of another model"):
        predict_films(other, films, tmp_path / "a.csv", resume=True)
    assert (tmp_path / "a.csv").read_bytes() == before
    assert not (tmp_path / "a.csv.part").exists()
    assert len(predict_films(predictor, films, tmp_path / "a.csv", resume=True).table) == 6


def test_a_finished_json_file_grows(
    predictor: Predictor, phantoms: Collection, tmp_path: Path
) -> None:
    films = [Path(image) for image in phantoms.films["image"][:5]]
    path = tmp_path / "a.json"
    predict_films(predictor, films[:3], path)
    predict_films(predictor, films[2:], path, resume=True)
    assert [row["image"] for row in json.loads(path.read_text())] == [*map(str, films)]
    path.write_text("no table")
    with pytest.raises(OutputError, match=r"a\.json is damaged, no JSON .*name another file"):
        predict_films(predictor, films, path, resume=True)


def test_an_interrupted_table_is_not_thrown_away_unasked(
    predictor: Predictor, phantoms: Collection, tmp_path: Path
) -> None:
    films = [Path(image) for image in phantoms.films["image"][:2]]
    part = tmp_path / "a.csv.part"
    part.write_text("image\n")
    with pytest.raises(OutputError, match=r"a\.csv\.part is left .* --resume"):
        predict_films(predictor, films, tmp_path / "a.csv")
    assert part.read_text() == "image\n"
    predict_films(predictor, films, tmp_path / "a.csv", force=True)
    assert not part.exists()


def test_a_table_without_a_film_has_its_columns(
    predictor: Predictor, phantoms: Collection, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    predict_films(predictor, [broken], tmp_path / "none.csv")
    predict_films(predictor, [Path(phantoms.films["image"].iloc[0])], tmp_path / "one.csv")
    none, one = (pd.read_csv(tmp_path / name) for name in ("none.csv", "one.csv"))
    assert (len(none), list(none)) == (0, list(one))


def test_a_film_with_the_longest_name_is_explained(
    predictor: Predictor, phantoms: Collection, tmp_path: Path
) -> None:
    film = tmp_path / f"{'x' * 250}.png"
    film.write_bytes(Path(phantoms.films["image"].iloc[0]).read_bytes())
    assert explain_films(predictor, [film], tmp_path / "out").pictures[0].is_file()


def test_explained_films_are_pictures_and_a_page(
    predictor: Predictor, phantoms: Collection, tmp_path: Path
) -> None:
    films = [Path(image) for image in phantoms.films["image"][:3]]
    result = explain_films(predictor, films, tmp_path / "out")
    assert len(result.pictures) == 3
    picture = cv2.imread(str(result.pictures[0]))
    assert picture is not None
    assert picture.shape == (64, 128, 3)
    page = result.page.read_text()
    assert "not a diagnosis" in page
    assert films[0].name in page
    # Each film once, beside its map, and one scale of colours above them all.
    assert page.count("<img") == 3 + 1
    assert "a scale of colours: 0; 0.5; 1" in page
    with pytest.raises(OutputError, match="exists already"):
        explain_films(predictor, films, tmp_path / "out")


def test_a_thin_film_is_explained_and_none_is_kept_in_full_size(
    predictor: Predictor, tmp_path: Path
) -> None:
    large = draw_phantom(1, "pneumonia", 1024).film
    films = []
    for number, film in enumerate([large[:2, :900].repeat(2, 1)] + [large] * 6):
        films.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(films[-1]), film)
    held = []
    tracemalloc.start()
    try:
        result = explain_films(
            predictor,
            films,
            tmp_path / "out",
            progress=lambda done, of: held.append(tracemalloc.get_traced_memory()[0]),
        )
    finally:
        tracemalloc.stop()
    assert len(result.pictures) == 7
    assert not result.failures
    with_its_map = 2 * 3 * large.nbytes
    assert held[-1] - held[1] < 3 * with_its_map  # of five films more


def copied(run: Run, folder: Path) -> Path:
    folder.mkdir()
    for path in run.path.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_broken_runs_are_named(small_run: Run, tmp_path: Path) -> None:
    run = copied(small_run, tmp_path / "a")
    (run / "weights.safetensors").write_bytes(b"junk")
    with pytest.raises(RunError, match=r"weights\.safetensors is broken"):
        Predictor.load(run)
    (run / "weights.safetensors").unlink()
    with pytest.raises(RunError, match="has no weights yet"):
        Predictor.load(run)


def test_a_run_from_other_thresholds_is_refused(small_run: Run, tmp_path: Path) -> None:
    run = copied(small_run, tmp_path / "b")
    versions = json.loads((run / "versions.json").read_text())
    (run / "versions.json").write_text(json.dumps({**versions, "chain": "report-0000000000"}))
    with pytest.raises(RunError, match="report-0000000000"):
        Predictor.load(run)


def test_where_borders_were_cropped_the_map_is_empty(small_run: Run) -> None:
    loaded = Predictor.load(small_run.path)
    predictor = Predictor(loaded.network, loaded.decision, Chain.named("robust", 64), CLASSES)
    film = cv2.copyMakeBorder(
        draw_phantom(3, "normal").film, 40, 0, 0, 60, cv2.BORDER_CONSTANT, value=0
    )
    for target in CLASSES:
        prediction = predictor.predict(film)
        top, bottom, left, right = prediction.examination.cropped
        assert (top, bottom, left, right) == pytest.approx((40, 0, 0, 60), abs=6)
        heat = prediction.explain(target=target)
        assert heat.values.shape == film.shape
        assert heat.values[: top - 1].max() == 0
        assert heat.values[:, film.shape[1] - right + 1 :].max() == 0
    assert max(prediction.explain(target=target).values.max() for target in CLASSES) > 0.5
