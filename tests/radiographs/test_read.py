"""Files good and bad: the originals of ../shared, broken and wrong files, and searching folders."""

import concurrent.futures
import csv
import io
import os
import pickle
import random
import socket
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from cxrlens.errors import FilmError, visible
from cxrlens.radiographs.read import (
    FILM_SUFFIXES,
    decode_radiograph,
    find_films,
    read_bytes,
    read_radiograph,
)

from .dicom_films import TWELVE, native
from .drawn import coloured, drawn, png
from .test_raster import tiff

HERE = Path(__file__).parent
RAW = HERE.parents[1] / "../shared/data/raw/images"
GREY = drawn()
PNG, JPEG, TIFF = png(GREY, 0, 8), imagecodecs.jpeg8_encode(GREY, level=90), tiff(GREY)

with (HERE / "raw_expected.csv").open(newline="") as table:
    ORIGINALS = list(csv.DictReader(table))


def progressive():
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "JPEG", progressive=True)
    return file.getvalue()


@pytest.mark.skipif(not RAW.exists(), reason="the originals are not beside this checkout")
@pytest.mark.parametrize("row", ORIGINALS, ids=lambda row: row["image"])
def test_original_reads_as_another_decoder_has_it(row):
    film = read_radiograph(RAW / row["image"])
    corners = film[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()
    height, width = int(row["height"]), int(row["width"])
    assert film.shape == (height, width)
    expected = [int(row[name]) for name in list(row)[6:]]
    assert np.abs(np.subtract(corners, expected)).max() <= 1
    assert abs(int(film.min()) - int(row["darkest"])) <= 1
    assert abs(int(film.max()) - int(row["brightest"])) <= 1
    assert abs(film.mean() - float(row["mean"])) < 0.05


@pytest.mark.skipif(not RAW.exists(), reason="the originals are not beside this checkout")
def test_every_original_is_in_the_table():
    assert sorted(path.name for path in RAW.iterdir()) == [row["image"] for row in ORIGINALS]


@pytest.mark.parametrize("name", ["film.png", "film.jpg", "film", "film.dcm"])
@pytest.mark.parametrize("data", [PNG, TIFF, native(GREY, 8)], ids=["PNG", "TIFF", "DICOM"])
def test_content_counts_and_not_the_name(tmp_path, data, name):
    (tmp_path / name).write_bytes(data)
    np.testing.assert_array_equal(read_radiograph(tmp_path / name), GREY)
    np.testing.assert_array_equal(read_radiograph(str(tmp_path / name)), GREY)


def test_bytes_are_those_of_the_file(tmp_path):
    (tmp_path / "film.png").write_bytes(PNG)
    assert read_bytes(tmp_path / "film.png") == PNG


def refusal(path, **options):
    with pytest.raises(FilmError) as caught:
        read_radiograph(path, **options)
    message = str(caught.value)
    named = f"{visible(str(path))} "
    assert message.startswith(named)
    assert "\n" not in message
    return message.removeprefix(named)


def test_missing_file(tmp_path):
    assert refusal(tmp_path / "film.png") == "does not exist"
    (tmp_path / "a").touch()
    assert refusal(tmp_path / "a" / "film.png") == "does not exist"


def test_folder(tmp_path):
    assert refusal(tmp_path).startswith("is a folder, not a film")


def test_name_with_null_character():
    assert refusal("film\0.png").startswith("cannot be read")


def test_name_that_is_no_utf8(tmp_path):
    path = os.fsencode(tmp_path) + b"/film\xff.png"
    with open(path, "wb") as file:
        file.write(PNG)
    with pytest.raises(
        FilmError, match=r"film\\xff\.png has a name that is no UTF-8: rename it"
    ) as told:
        read_radiograph(os.fsdecode(path))
    assert str(told.value).encode()
    assert find_films([tmp_path]) == [Path(os.fsdecode(path))]


def test_empty_file(tmp_path):
    path = tmp_path / "film.png"
    path.touch()
    assert refusal(path).startswith("is empty")


@pytest.fixture
def nobody():
    """Whoever runs the tests; where that is root, who may read everything, a user without rights."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


@pytest.fixture
def locked(tmp_path):
    """A folder and a film in it that may not be opened."""
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "film.png").write_bytes(PNG)
    (tmp_path / "locked" / "film.png").chmod(0)
    (tmp_path / "locked").chmod(0)
    yield tmp_path / "locked"
    (tmp_path / "locked").chmod(0o700)


@pytest.mark.usefixtures("locked", "nobody")
def test_unreadable_file(locked):
    assert refusal(locked / "film.png").startswith("may not be read by you")


@pytest.mark.usefixtures("locked", "nobody")
def test_unreadable_folder(locked):
    with pytest.raises(FilmError, match="locked may not be read by you"):
        find_films([locked])


@pytest.mark.parametrize(
    "data", [b"image,label\n1.png,normal\n", b"GIF89a" + bytes(99), bytes(999), b"\x89PNG", b"\xff"]
)
def test_wrong_content(tmp_path, data):
    path = tmp_path / "film.png"
    path.write_bytes(data)
    assert refusal(path).startswith("is no PNG, JPEG, TIFF, BMP, WebP or DICOM file")


BOMBS = {
    "PNG": png(GREY, 0, 8, size=(30000, 30000)),
    "JPEG": JPEG.replace(
        GREY.shape[0].to_bytes(2, "big") + GREY.shape[1].to_bytes(2, "big"),
        (30000).to_bytes(2, "big") * 2,
    ),
    "DICOM": native(TWELVE, 12, Rows=30000, Columns=30000),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_decompression_bomb(tmp_path, kind):
    path = tmp_path / "film"
    path.write_bytes(BOMBS[kind])
    assert refusal(path).startswith("is 30,000 × 30,000 pixels large, and films of more than")


def test_largest_film_can_be_chosen(tmp_path):
    path = tmp_path / "film.png"
    path.write_bytes(PNG)
    assert read_radiograph(path, max_pixels=GREY.size).shape == GREY.shape
    assert "films of more than 2,851 pixels" in refusal(path, max_pixels=GREY.size - 1)


def test_films_beyond_pillows_own_limit_read_without_a_warning(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", GREY.size - 1)
    for data in (PNG, JPEG, TIFF):
        assert decode_radiograph(data, "film").shape == GREY.shape


def test_a_file_larger_than_any_film_is_not_read(tmp_path):
    path = tmp_path / "film.png"
    path.write_bytes(PNG)
    os.truncate(path, 10**12)  # sparse: it takes no room
    assert refusal(path).startswith("has 1,000,000,000,000 bytes, more than any film")


@pytest.mark.parametrize("shape", [(499, 501), (501, 499), (4200, 4001)])
def test_films_of_all_sizes_keep_their_pixels(shape):
    film = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(decode_radiograph(tiff(film), "film"), film, strict=True)


WHOLE = {"PNG": PNG, "JPEG": JPEG, "progressive JPEG": progressive(), "TIFF": TIFF}


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_that_is_cut_short_is_no_half_film(kind, share):
    data = WHOLE[kind]
    kept = data[: int(share * len(data))]
    with pytest.raises(FilmError, match=r"^film\.x "):
        decode_radiograph(kept, "film.x")
    padded = kept + bytes(100_000)
    if kind != "TIFF":  # uncompressed: zeros are as good pixels as any
        with pytest.raises(FilmError, match=r"^film\.x "):
            decode_radiograph(padded, "film.x")


def test_a_flipped_bit_in_a_png_is_seen():
    for place in (20, len(PNG) // 2, len(PNG) - 30):
        data = bytearray(PNG)
        data[place] ^= 4
        with pytest.raises(FilmError, match=r"broken PNG file .a part of it is damaged"):
            decode_radiograph(bytes(data), "film.png")


def test_damage_of_any_kind_ends_in_a_film_or_one_sentence():
    """1,000 seeded mutations; warnings are errors here, so that none may come out either."""
    draw = random.Random(7)
    sound = [*WHOLE.values(), png(coloured(16), 2, 16), native(TWELVE, 12, WindowCenter="900")]
    refused, sentences = 0, set()
    for _ in range(1000):
        data = bytearray(draw.choice(sound))
        match draw.randrange(3):
            case 0:
                del data[draw.randrange(len(data)) :]
            case 1:
                for _ in range(draw.choice([1, 5])):
                    data[draw.randrange(min(len(data), 600))] = draw.randrange(256)
            case 2:
                start = draw.randrange(len(data))
                del data[start : start + draw.randrange(40)]
        try:
            film = decode_radiograph(bytes(data), "film")
        except FilmError as error:
            refused += 1
            sentences.add(str(error))
        else:
            assert film.dtype == np.uint8
            assert film.ndim == 2
    assert all(sentence.startswith("film ") and "\n" not in sentence for sentence in sentences)
    assert 500 < refused < 1000


def test_many_threads_read_alike_and_leave_the_warning_filters(tmp_path):
    paths = []
    for kind, data in {**WHOLE, "DICOM": native(TWELVE, 12)}.items():
        paths.append(tmp_path / kind)
        paths[-1].write_bytes(data)
    alone = [read_radiograph(path) for path in paths]
    filters = list(warnings.filters)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(read_radiograph, paths * 40))
    for film, expected in zip(together, alone * 40, strict=True):
        np.testing.assert_array_equal(film, expected)
    assert list(warnings.filters) == filters


def test_a_film_error_travels_between_processes(tmp_path):
    message = refusal(tmp_path / "none.png")
    error = FilmError(f"{tmp_path / 'none.png'} {message}")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def tree(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_folders_are_searched_and_sorted(tmp_path):
    tree(tmp_path, "b.PNG", "a.jpeg", "c/d/e.dcm", "c/b.tif", "notes.txt", "films.csv", "c.gif")
    tree(tmp_path, ".hidden.png", ".cache/a.png", "__MACOSX/._a.png")
    found = [str(path.relative_to(tmp_path)) for path in find_films([tmp_path])]
    assert found == ["a.jpeg", "b.PNG", "c/b.tif", "c/d/e.dcm"]


@pytest.mark.parametrize("suffix", sorted(FILM_SUFFIXES))
def test_every_film_suffix_is_found(tmp_path, suffix):
    tree(tmp_path, f"film{suffix}", f"FILM2{suffix.upper()}")
    assert len(find_films([tmp_path])) == 2


def test_files_without_a_suffix_must_say_that_they_are_dicom(tmp_path):
    for name in ("IM0001", "1.2.840.113619.2.5", "DICOMDIR"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    tree(tmp_path, "LICENSE", "notes.2")
    found = [path.name for path in find_films([tmp_path])]
    assert found == ["1.2.840.113619.2.5", "IM0001"]


def test_files_are_taken_as_given_once_and_in_order(tmp_path):
    tree(tmp_path, "z.txt", "b/2.png", "b/1.png", "a.png")
    named = [tmp_path / "z.txt", tmp_path / "b", tmp_path / "a.png", tmp_path / "b" / "1.png"]
    found = [str(path.relative_to(tmp_path)) for path in find_films(named)]
    assert found == ["z.txt", "b/1.png", "b/2.png", "a.png"]
    assert find_films([str(tmp_path / "z.txt")]) == [tmp_path / "z.txt"]
    assert find_films([]) == []


def test_a_folder_that_links_to_itself_ends(tmp_path):
    tree(tmp_path, "films/1.png")
    (tmp_path / "films" / "again").symlink_to(tmp_path / "films")
    (tmp_path / "linked").symlink_to(tmp_path / "films")
    assert find_films([tmp_path]) == [tmp_path / "films" / "1.png"]


def test_a_link_to_films_elsewhere_is_followed(tmp_path):
    tree(tmp_path, "store/1.png", "work/readme.txt")
    (tmp_path / "work" / "films").symlink_to(tmp_path / "store")
    assert find_films([tmp_path / "work"]) == [tmp_path / "work" / "films" / "1.png"]


def test_a_link_to_nothing_is_listed_for_reading_to_say_so(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert find_films([tmp_path]) == [tmp_path / "gone.png"]
    assert refusal(tmp_path / "gone.png") == "does not exist"


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(FilmError, match="nowhere does not exist"):
        find_films([tmp_path / "nowhere"])


def unusual(folder, kind):
    path = folder / "a.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(folder / "pipe")
        path.symlink_to(folder / "pipe")
    return path


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link to a pipe"])
def test_only_regular_files_are_films(tmp_path, kind):
    path = unusual(tmp_path, kind)
    assert refusal(path).startswith("is no regular file but a pipe, a device or a socket")
    assert find_films([tmp_path]) == [path]  # it is called a film: reading says what it is


def test_pipes_without_a_suffix_are_passed_over(tmp_path):
    os.mkfifo(tmp_path / "IM0001")
    os.mkfifo(tmp_path / "1.2.840")
    assert find_films([tmp_path]) == []


@pytest.mark.parametrize("kind", ["BMP", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_bitmaps_and_webp_are_read_and_refused_where_cut(tmp_path, kind, mode):
    levels = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    path = tmp_path / "film"
    Image.fromarray(levels).convert(mode).save(
        path, kind, **({"lossless": True} if kind == "WEBP" else {})
    )
    assert (read_radiograph(path) == levels).all()
    assert find_films([tmp_path]) == [path]
    whole = path.read_bytes()
    for length in (20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FilmError, match=r"is a (broken )?(BMP|WEBP) file"):
            read_radiograph(path)


def test_a_moving_picture_is_no_film(tmp_path):
    path = tmp_path / "film.webp"
    first, second = (Image.new("L", (8, 8), grey) for grey in (0, 99))
    first.save(path, save_all=True, append_images=[second])
    with pytest.raises(FilmError, match="moving picture"):
        read_radiograph(path)
