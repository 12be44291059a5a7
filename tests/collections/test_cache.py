import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrlens.collections.cache import cache_films
from cxrlens.collections.phantom import draw_phantom
from cxrlens.errors import OutputError
from cxrlens.quality.chain import Chain
from cxrlens.radiographs.read import read_radiograph


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    paths = []
    for seed in range(6):
        paths.append(str(tmp_path / "films" / f"{seed}.png"))
        (tmp_path / "films").mkdir(exist_ok=True)
        cv2.imwrite(paths[-1], draw_phantom(seed, "normal", side=96).film)
    return paths


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


class Counting:
    """A chain that counts what it examines."""

    def __init__(self, chain: Chain) -> None:
        self.chain, self.calls = chain, 0
        self.name, self.side, self.version = chain.name, chain.side, chain.version
        self.findings_version = chain.findings_version

    def examine(self, film: np.ndarray) -> object:
        self.calls += 1
        return self.chain.examine(film)


def counting(name: str = "none", side: int = 64) -> Counting:
    return Counting(Chain.named(name, side))


def test_rows_hold_what_the_chain_gives(images: list[str], cache: Path) -> None:
    chain = Chain.named("report", 64)
    cached = cache_films(images, chain, cache)
    for image, row in zip(images, cached.rows, strict=True):
        examination = chain.examine(read_radiograph(image))
        assert np.array_equal(cached.pixels[row], examination.pixels)
        assert cached.findings["negative"][row] == examination.findings["negative"].present


def test_a_second_build_does_nothing(images: list[str], cache: Path) -> None:
    cache_films(images, counting(), cache)
    again = counting()
    cached = cache_films(list(reversed(images)), again, cache)
    assert again.calls == 0
    assert sorted(cached.rows) == list(range(6))
    assert len(cached.pixels) == 6


def test_copies_share_a_row(images: list[str], cache: Path) -> None:
    copy = images[0].replace("0.png", "copy.png")
    Path(copy).write_bytes(Path(images[0]).read_bytes())
    chain = counting()
    cached = cache_films([images[0], copy], chain, cache)
    assert cached.rows[0] == cached.rows[1]


def test_a_changed_file_is_noticed_even_with_the_same_size_and_name(
    images: list[str], cache: Path
) -> None:
    before = cache_films(images, counting(), cache)
    old = Path(images[2]).stat()
    Path(images[2]).write_bytes(Path(images[3]).read_bytes())
    os.utime(images[2], ns=(old.st_atime_ns, old.st_mtime_ns + 1_000_000))
    after = cache_films(images, counting(), cache)
    assert after.rows[2] == before.rows[3]


def test_a_changed_setting_is_noticed(images: list[str], cache: Path) -> None:
    cache_films(images, counting("none", 64), cache)
    for other in (counting("report", 64), counting("none", 32)):
        cache_films(images, other, cache)
        assert other.calls == 6


@pytest.mark.parametrize("lost", ["pixels", "index", "torn line"])
def test_an_interrupted_build_goes_on(images: list[str], cache: Path, lost: str) -> None:
    whole = cache_films(images, counting(), cache)
    expected = [whole.pixels[row].copy() for row in whole.rows]
    (store,) = cache.iterdir()
    pixels, index = store / "pixels.u8", store / "index.jsonl"
    if lost == "pixels":
        os.truncate(pixels, 64 * 64 * 3 + 100)
    elif lost == "index":
        lines = index.read_bytes().splitlines(keepends=True)
        index.write_bytes(b"".join(lines[:5]))
    else:
        os.truncate(index, index.stat().st_size - 7)
    chain = counting()
    cached = cache_films(images, chain, cache)
    assert 0 < chain.calls < 6 or lost == "torn line"
    for row, film in zip(cached.rows, expected, strict=True):
        assert np.array_equal(cached.pixels[row], film)


def test_a_broken_film_is_named_and_the_rest_done(images: list[str], cache: Path) -> None:
    Path(images[3]).write_bytes(Path(images[3]).read_bytes()[:500])
    cached = cache_films(images, counting(), cache)
    assert list(cached.failures) == [images[3]]
    assert images[3] in cached.failures[images[3]]
    assert cached.rows[3] == -1
    assert (np.delete(cached.rows, 3) >= 0).all()


def test_progress_reaches_the_end(images: list[str], cache: Path) -> None:
    said: list[tuple[int, int]] = []
    cache_films(images, counting(), cache, progress=lambda done, of: said.append((done, of)))
    assert said == [(i, 6) for i in range(1, 7)]


def test_a_cache_that_cannot_be_written_is_one_sentence(images: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        cache_films(images, counting(), tmp_path / "file")


def test_two_builds_at_once_do_not_spoil_each_other(images: list[str], cache: Path) -> None:
    from threading import Thread

    threads = [Thread(target=cache_films, args=(images, counting(), cache)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cached = cache_films(images, counting(), cache)
    assert len(cached.pixels) == 6
    for image, row in zip(images, cached.rows, strict=True):
        expected = Chain.named("none", 64).examine(read_radiograph(image)).pixels
        assert np.array_equal(cached.pixels[row], expected)
