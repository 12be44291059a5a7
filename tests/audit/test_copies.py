from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cxrlens.audit.films import Films, Squares, find_copies, read_films
from cxrlens.collections.collection import collection_from
from cxrlens.phantoms import draw_phantom


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Films:
    """Sixty drawn films, each of another patient, and seven copies of the first ones."""
    folder = tmp_path_factory.mktemp("copied")
    labels = ("normal", "pneumonia", "tuberculosis")
    films = [draw_phantom(seed, labels[seed % 3], 160).film for seed in range(60)]
    random = np.random.default_rng(0)
    copies = {
        "size": cv2.resize(films[0], (90, 90), interpolation=cv2.INTER_AREA),
        "negative": 255 - films[1],
        "noise": np.clip(films[2] + random.normal(0, 15, films[2].shape), 0, 255),
        "crop": films[3][6:152, 3:150],
        "tone": 255 * (films[4] / 255.0) ** 0.8,
        "all": 255
        - np.clip(films[5][4:156, 8:156] * 0.9 + random.normal(0, 6, (152, 148)), 0, 255),
    }
    names = []
    for number, film in enumerate(films):
        names.append(f"{number:02d}.png")
        cv2.imwrite(str(folder / names[-1]), film)
    for name, film in copies.items():
        names.append(f"{name}.jpg" if name in ("crop", "size") else f"{name}.png")
        cv2.imwrite(str(folder / names[-1]), np.asarray(film).astype(np.uint8))
    (folder / "same.png").write_bytes((folder / "06.png").read_bytes())
    cv2.imwrite(str(folder / "pixels.png"), films[7], [cv2.IMWRITE_PNG_COMPRESSION, 0])
    cv2.imwrite(str(folder / "even.png"), np.full((50, 50), 90, np.uint8))
    names += ["same.png", "pixels.png", "even.png"]
    return read_films(collection_from(pd.DataFrame({"image": names}), folder, "copied"))


def test_each_planted_copy_is_found_and_no_other_pair(copied: Films) -> None:
    stems = [Path(image).stem for image in copied.table["image"]]
    found = {
        (stems[row.one], stems[row.other]): (row.kind, row.negative)
        for row in find_copies(copied).itertuples()
    }
    assert found == {
        ("00", "size"): ("near copy", False),
        ("01", "negative"): ("near copy", True),
        ("02", "noise"): ("near copy", False),
        ("03", "crop"): ("near copy", False),
        ("04", "tone"): ("near copy", False),
        ("05", "all"): ("near copy", True),
        ("06", "same"): ("same file", False),
        ("07", "pixels"): ("same pixels", False),
    }


def test_one_film_alone_has_no_copy(copied: Films) -> None:
    alone = Films(copied.table.iloc[:1], Squares(copied.pixels[:1]), copied.files.iloc[:1], {})
    assert find_copies(alone).empty


def test_files_say_what_they_are(copied: Films) -> None:
    names = [Path(image).name for image in copied.table["image"]]
    files = copied.files.set_index(pd.Index(names))
    assert files.loc["size.jpg", ["width", "format"]].tolist() == [90, "JPEG"]
    assert files.loc["size.jpg", "quality"] == pytest.approx(95, abs=1)  # OpenCV's own
    assert np.isnan(files.loc["00.png", "quality"])
