import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrlens.collections.cache import CachedFilms, cache_films
from cxrlens.errors import OutputError
from cxrlens.phantoms import draw_phantom
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


def index_of(cache: Path) -> Path:
    (store,) = cache.iterdir()
    return store / "index.jsonl"


def the_same(cached: CachedFilms, images: list[str]) -> bool:
    expected = [Chain.named("none", 64).examine(read_radiograph(image)).pixels for image in images]
    return all(
        np.array_equal(cached.pixels[row], film)
        for row, film in zip(cached.rows, expected, strict=True)
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: b"\x00\xff nonsense\n",
        lambda line: b"[" * 5000 + b"\n",
        lambda line: line.replace(b'"row": 2', b'"row": 1'),
        lambda line: line.replace(b'"row": 2', b'"row": 2000000'),
        lambda line: line.replace(b'"row": 2', b'"row": "2"'),
        lambda line: line[:40] + line[41:],
        lambda line: b"null\n",
    ],
)
def test_a_damaged_line_costs_its_own_film_only(
    images: list[str], cache: Path, damage: Callable[[bytes], bytes]
) -> None:
    cache_films(images, counting(), cache)
    lines = index_of(cache).read_bytes().splitlines(keepends=True)
    place = next(n for n, line in enumerate(lines) if b'"row": 2' in line)
    lines[place] = damage(lines[place])
    index_of(cache).write_bytes(b"".join(lines))
    chain = counting()
    assert the_same(cache_films(images, chain, cache), images)
    assert chain.calls == 1
    again = counting()
    assert the_same(cache_films(images, again, cache), images)
    assert again.calls == 0


def test_lines_without_a_check_count_where_they_do_not_contradict(
    images: list[str], cache: Path
) -> None:
    cache_films(images, counting(), cache)
    text = index_of(cache).read_text()
    bare = re.sub(r', "check": "\w{8}"', "", text)
    assert bare != text
    index_of(cache).write_text(bare)
    chain = counting()
    assert the_same(cache_films(images, chain, cache), images)
    assert chain.calls == 0
    # Two films claim one row: neither is believed.
    index_of(cache).write_text(bare.replace('"row": 2', '"row": 1'))
    assert the_same(cache_films(images, chain, cache), images)
    assert chain.calls == 2


def test_a_store_of_another_layout_is_left_alone(images: list[str], cache: Path) -> None:
    cache_films(images, counting(), cache)
    index_of(cache).write_text('{"layout": 2}\n')
    with pytest.raises(OutputError, match=r"layout 2.*--cache"):
        cache_films(images, counting(), cache)
    assert index_of(cache).read_text() == '{"layout": 2}\n'


def test_a_cache_that_is_made_is_its_owners_alone(images: list[str], cache: Path) -> None:
    cache_films(images, counting(), cache)
    for folder in (cache, *cache.iterdir()):
        assert folder.stat().st_mode & 0o077 == 0
