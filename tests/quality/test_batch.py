"""Many films at once: every copy is there, and no original is lost."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrlens.errors import OutputError
from cxrlens.phantoms import draw_phantom
from cxrlens.quality.chain import Chain, check_films, repair_films

CHAIN = Chain.named("report", 64)


def film(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((80, 80), shade, np.uint8))
    return path


def test_films_of_one_name_have_a_copy_each(tmp_path: Path) -> None:
    names = ["a/f.png", "b/f-2.png", "c/f.png", "d/F.png", "e/f-3.png", "f/f.tif"]
    films = [film(tmp_path / name, 30 * n) for n, name in enumerate(names, 1)]
    findings, failures = repair_films(films, Chain.named("none", 64), tmp_path / "out")
    assert not failures
    assert findings["repaired"].str.lower().nunique() == len(films)
    shades = [cv2.imread(copy, cv2.IMREAD_GRAYSCALE)[0, 0] for copy in findings["repaired"]]
    assert shades == [30, 60, 90, 120, 150, 180]


def test_a_copy_never_takes_the_place_of_its_film(tmp_path: Path) -> None:
    one = film(tmp_path / "films" / "a.png", 90)
    before = one.read_bytes()
    with pytest.raises(OutputError, match=r"a\.png is one of the films themselves"):
        repair_films([one], CHAIN, tmp_path / "films", force=True)
    assert one.read_bytes() == before


def test_a_name_as_long_as_the_system_allows(tmp_path: Path) -> None:
    one = film(tmp_path / f"{'ü' * 120}.png", 90)
    findings, _ = repair_films([one], CHAIN, tmp_path / "out")
    assert Path(findings["repaired"].iloc[0]).is_file()


def test_without_a_film_that_can_be_read_the_columns_are_there(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    whole = film(tmp_path / "whole.png", 90)
    checked, failures = check_films([broken], CHAIN)
    assert list(failures) == [str(broken)]
    assert len(checked) == 0
    assert list(checked) == list(check_films([whole], CHAIN)[0])
    repaired, _ = repair_films([broken], CHAIN, tmp_path / "none")
    assert list(repaired) == list(repair_films([whole], CHAIN, tmp_path / "one")[0])


def test_a_film_in_colours_was_photographed(tmp_path: Path) -> None:
    grey = draw_phantom(1, "normal", 256).film
    warm = np.clip(grey[..., None] * [0.85, 0.97, 1.05] + 12, 0, 255).astype(np.uint8)
    for name, pixels in (("grey", np.dstack([grey] * 3)), ("warm", warm)):
        for suffix in ("jpg", "png", "tif"):
            cv2.imwrite(str(tmp_path / f"{name}.{suffix}"), pixels)
    films = sorted(tmp_path.iterdir())
    findings, _ = check_films(films, Chain.named("robust"))
    assert findings["photographed"].tolist() == [False] * 3 + [True] * 3
    assert (findings.loc[3:, "photographed_score"] == 1).all()
    looked, _ = check_films(films, CHAIN)
    assert "photographed" not in looked  # which this chain does not look for
