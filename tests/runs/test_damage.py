"""Files of ours that were damaged: one sentence each, with the file and the way out; never a traceback."""

import json
from pathlib import Path

import pytest
from benchmarks.damage_own_files import DAMAGES, KINDS, artefacts, tries

from cxrlens.errors import RunError
from cxrlens.runs.run import Run

SLOW = ("study.db", "recipe.yaml of a study", "collection.csv of a study")
"""Their opening writes a page."""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artefacts(tmp_path_factory.mktemp("damage"))


@pytest.fixture
def run(first: Path) -> Path:
    return first / "run"


@pytest.mark.slow
def test_a_hundred_damages_end_in_a_sentence_or_in_nothing(first: Path) -> None:
    quick = [kind for kind in KINDS if kind not in SLOW]
    found = list(tries(first, quick, 4, seed=1))
    assert len(found) >= 96
    assert {outcome["damage"] for outcome in found} <= set(DAMAGES)
    assert [outcome for outcome in found if outcome["came to"] in ("traceback", "wrong")] == []
    told = [outcome for outcome in found if outcome["came to"] == "told"]
    assert len(told) > len(found) / 3
    assert all(len(outcome["said"]) < 2000 for outcome in told)


@pytest.mark.slow
def test_damaged_studies_end_in_a_sentence_or_in_nothing(first: Path) -> None:
    found = list(tries(first, list(SLOW), 16, seed=1))
    assert [outcome for outcome in found if outcome["came to"] == "traceback"] == []


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "versions.json",
            b'{"format": 1',
            r"versions\.json is damaged, no JSON \(.* line 1 column 12\)",
        ),
        ("versions.json", b'{"format": "x"}', r"damaged at format: .*copy the run again"),
        ("versions.json", b"[" * 5000, "recursion limit exceeded"),
        (
            "metrics.json",
            b'{"test": {"films": "many"}}',
            r"at test\.films: .*evaluate writes it again",
        ),
        ("metrics.json", b'{"test": NaN}', "no JSON"),
        ("history.csv", b"epoch,seconds\n0,1\n", "has no column 'train_accuracy'"),
        ("predictions-test.csv", b"image,predicted\na\0b,normal\n", "line 2, it holds null"),
        ("predictions-test.csv", b"image,predicted\nb,normal,1,2\n", "more fields than its header"),
        ("skipped.csv", b"image,reason\na.png,\n", "row 1, reason is"),
        ("recipe.yaml", b"a: &x 1", "line 1, column 4: anchors and aliases"),
        ("collection.csv", b"image,label\na.png,normal\n", "not every film has a split"),
    ],
)
def test_the_sentence_has_file_place_and_way_out(
    first: Path, run: Path, name: str, content: bytes, sentence: str
) -> None:
    kept = (run / name).read_bytes()
    (run / name).write_bytes(content)
    try:
        with pytest.raises(RunError, match=sentence) as caught:
            opened = Run(run)
            for read in (opened.history, opened.metrics, opened.skipped, opened.collection):
                read()
            opened.predictions("test")
            assert opened.recipe
        assert name in str(caught.value)
        assert "again" in str(caught.value)
    finally:
        (run / name).write_bytes(kept)


def test_a_run_that_says_no_precision_is_told(run: Path) -> None:
    kept = (run / "versions.json").read_text()
    content = {key: value for key, value in json.loads(kept).items() if key != "precision"}
    (run / "versions.json").write_text(json.dumps(content))
    try:
        with pytest.raises(RunError, match="says no precision"):
            assert Run(run).precision
    finally:
        (run / "versions.json").write_text(kept)


def test_what_names_patients_is_its_owners_alone(run: Path, tmp_path: Path) -> None:
    opened, made = Run(run), tmp_path / "made"
    made = Run.create(made, opened.recipe, opened.collection(), opened.versions())
    made.write_predictions("test", opened.predictions("test"))
    made.write_skipped({"a.png": "torn"})
    for name in ("collection.csv", "predictions-test.csv", "skipped.csv"):
        assert (made.path / name).stat().st_mode & 0o077 == 0
