import shutil

from typer.testing import CliRunner

from cxrlens.cli import app


def test_compare_prints_the_tables_and_writes_them(small_run, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(small_run.path, twin)
    arguments = ["compare", str(small_run.path), str(twin), "--published", "--resamples", "100"]
    done = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    for said in ("effnet_svm_voting", "0.9662", "run − twin", "★", "other films"):
        assert said in done.output
    assert (tmp_path / "out" / "comparison.html").is_file()


def test_a_file_is_no_place_for_results_and_that_is_said_before_the_work(small_run, tmp_path):
    place, nowhere = tmp_path / "afile", str(tmp_path / "none.csv")
    place.write_text("mine")
    run = str(small_run.path)
    for verb in (
        ["compare", run, run],
        ["audit", nowhere],
        ["evaluate", nowhere, "--model", run],
        ["evaluate", "--predictions", nowhere],
        ["demo"],
        ["repair", nowhere],
        ["export", run],
        ["explain", str(place), "--model", run],
    ):
        done = CliRunner().invoke(app, [*verb, "--force", "-o", str(place)])
        assert "a part of its path is a file" in " ".join(str(done.exception).split()), verb
    assert place.read_text() == "mine"


def test_compare_without_a_run_is_wrong_usage(tmp_path):
    assert CliRunner().invoke(app, ["compare", "-o", str(tmp_path / "out")]).exit_code == 2
