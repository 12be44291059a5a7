import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrlens.errors import RecipeError
from cxrlens.quality import CHAINS, DEFECTS, Chain
from cxrlens.quality.chain import ONLOOKER
from cxrlens.radiographs import resize

Film = NDArray[np.uint8]


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("side", [64, 224])
def test_gives_squares_of_the_side_for_any_film(name: str, side: int) -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 300), (7, 5), (224, 224), (301, 200), (5000, 1), (2, 30_000)):
        film = rng.integers(0, 256, shape, dtype=np.uint8)
        before = film.copy()
        examination = Chain.named(name, side).examine(film)
        assert examination.pixels.shape == (side, side)
        assert examination.pixels.dtype == np.uint8
        np.testing.assert_array_equal(film, before)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("side", [160, 224])
def test_a_film_without_findings_is_its_resized_self(
    name: str, side: int, films: list[Film]
) -> None:
    left_alone = 0
    for film in films:
        examination = Chain.named(name, side).examine(film)
        if not any(finding.present for finding in examination.findings.values()):
            left_alone += 1
            assert examination.repairs == ()
            np.testing.assert_array_equal(examination.pixels, resize(film, side))
    assert left_alone >= len(films) / 4


def test_none_repairs_nothing_and_lets_the_onlooker_look(films: list[Film]) -> None:
    examination = Chain.named("none").examine(255 - films[0])
    assert examination.findings == Chain.named(ONLOOKER).check(255 - films[0]).findings
    assert examination.findings["negative"].present
    np.testing.assert_array_equal(examination.pixels, resize(255 - films[0], 224))


@pytest.mark.parametrize("name", ["report", "robust"])
def test_check_finds_what_examine_finds_and_changes_nothing(name: str, films: list[Film]) -> None:
    chain = Chain.named(name)
    film = 255 - films[0]
    checked, examined = chain.check(film), chain.examine(film)
    assert checked.findings == examined.findings
    assert examined.repairs != ()
    assert checked.repairs == ()
    np.testing.assert_array_equal(checked.pixels, resize(film, 224))


def test_report_runs_in_the_reports_order() -> None:
    steps = [step.defect for step in Chain.named("report").steps]
    assert steps == ["negative", "underexposed", "noisy", "blurred"]


def test_steps_can_be_switched_and_keep_the_chains_order(films: list[Film]) -> None:
    chain = Chain.named("report", steps=("noisy", "negative"))
    assert list(chain.examine(films[0]).findings) == ["negative", "noisy"]
    nothing = Chain.named("report", steps=()).examine(255 - films[0])
    np.testing.assert_array_equal(nothing.pixels, resize(255 - films[0], 224))


@pytest.mark.parametrize("name", CHAINS)
def test_findings_come_in_the_tables_order(name: str, films: list[Film]) -> None:
    found = list(Chain.named(name).examine(films[0]).findings)
    assert found == [defect for defect in DEFECTS if defect in found]


def test_version_follows_every_choice() -> None:
    chains = [
        Chain.named("none"),
        Chain.named("report"),
        Chain.named("report", side=160),
        Chain.named("report", steps=("negative",)),
        Chain.named("report", steps=("noisy",)),
        Chain.named("robust"),
    ]
    versions = [chain.version for chain in chains]
    assert len(set(versions)) == len(versions)
    assert Chain.named("report").version == versions[1]
    assert versions[1].startswith("report-")


@pytest.mark.parametrize("name", CHAINS)
def test_survives_the_way_to_another_process(name: str, films: list[Film]) -> None:
    chain = Chain.named(name)
    again = pickle.loads(pickle.dumps(chain))
    assert again.version == chain.version
    np.testing.assert_array_equal(again.examine(films[1]).pixels, chain.examine(films[1]).pixels)


def test_wrong_names_are_refused_with_the_way_out() -> None:
    with pytest.raises(RecipeError, match="did you mean 'report'"):
        Chain.named("reprot")
    with pytest.raises(RecipeError, match="did you mean 'noisy'"):
        Chain.named("report", steps=("noise",))
    with pytest.raises(RecipeError, match="side 0"):
        Chain.named("report", side=0)
