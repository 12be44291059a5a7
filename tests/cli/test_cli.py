"""The command line as a user types it, in processes of its own."""

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
from typer.testing import CliRunner

from cxrlens.cli import app, main
from cxrlens.collections.pairs import RULES
from cxrlens.collections.readers import LAYOUTS
from cxrlens.collections.tables import LABELS
from cxrlens.errors import RecipeError
from cxrlens.explanation import METHODS
from cxrlens.explanation.heatmap import PALETTES
from cxrlens.phantoms import write_phantoms
from cxrlens.prediction.calibration import Numbers
from cxrlens.prediction.trust import Trust, write_trust
from cxrlens.quality.chain import CHAINS
from cxrlens.recipes.recipe import read_recipe, shipped_recipes
from cxrlens.runs import Run
from cxrlens.runs.bundle import installed_models
from tests.radiographs.dicom_films import native


def cxrlens(*arguments: object, code: int = 0) -> str:
    """Run a command in this process; hold its exit code; give what it said on both streams.

    A traceback, which a user would see, is raised here or ends with another code.
    """
    said = io.StringIO()
    ended = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cxrlens", *map(str, arguments)])
        patch.setattr(sys, "stdout", said)
        patch.setattr(sys, "stderr", said)
        try:
            main()
        except SystemExit as end:
            ended = int(end.code or 0)
    assert ended == code, said.getvalue()
    assert "Traceback" not in said.getvalue()
    return said.getvalue()


def test_help_teaches() -> None:
    """Of cxrlens itself and of every verb."""
    runner = CliRunner()
    verbs = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert len(verbs) == 21
    short = []
    for verb in ([], *([name.replace("_", "-")] for name in verbs)):
        told = runner.invoke(app, [*verb, "--help"])
        if told.exit_code or "Usage" not in told.output or len(told.output) < 300:
            short.append(verb)
    assert not short


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("collect ", LAYOUTS),
        ("pairs --rule ", RULES),
        ("check --chain ", CHAINS),
        ("explore --chain ", CHAINS),
        ("explain --palette ", PALETTES),
        ("explain --method ", METHODS),
        ("explain --class ", LABELS),
        ("audit --fail-on ", ("serious", "note", "never")),
        ("predict --device ", ("auto", "cpu", "cuda", "mps")),
        ("train ", shipped_recipes()),
        ("serve --model ", installed_models()),
    ],
)
def test_a_shell_is_offered_every_choice_and_others_are_refused_in_a_sentence(
    line: str, known: Iterable[str]
) -> None:
    words = f"cxrlens {line}"
    asked = {"_CXRLENS_COMPLETE": "complete_bash", "COMP_WORDS": words}
    asked |= {"COMP_CWORD": str(len(words.split()))}
    told = CliRunner().invoke(app, [], env=asked, prog_name="cxrlens").output.split("\n")
    assert {*filter(None, told)} == {*known}
    if "--method" in line or "--class" in line or "--model" in line or "--" not in line:
        return  # known to a room below, which says its own sentence
    verb = CliRunner().invoke(app, [*line.split(), "nothing"])
    assert verb.exit_code == 2
    assert all(name in verb.output for name in ("'nothing' is not one of", *known))


def test_recipes_are_listed_and_shown(tmp_path: Path) -> None:
    runner = CliRunner()
    told = runner.invoke(app, ["recipes"]).output
    assert all(name in told for name in shipped_recipes())
    assert "the model hub or --weights" in told
    assert "the extra offline, --boxes, --lungs, films with sources" in " ".join(told.split())
    shown = runner.invoke(app, ["recipes", "lite0-ffn"]).output
    mine = tmp_path / "mine.yaml"
    mine.write_text(shown)
    assert read_recipe(mine) == read_recipe("lite0-ffn")
    assert isinstance(runner.invoke(app, ["recipes", "lite-ffn"]).exception, RecipeError)


def test_from_a_folder_to_a_split(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "set", 40, side=64, copies=0.5, seed=1)
    table = pd.read_csv(tmp_path / "set" / "films.csv")
    table[["image", "label", "patient"]].to_csv(tmp_path / "set" / "labels.csv", index=False)
    films, clean, dealt = (tmp_path / name for name in ("films.csv", "clean.csv", "split.csv"))
    assert "Next: cxrlens pairs" in cxrlens("collect", "report", tmp_path / "set", "-o", films)
    said = cxrlens("pairs", films, "-o", clean)
    left = pd.read_csv(tmp_path / "clean-left.csv")
    assert len(pd.read_csv(clean)) == 40
    assert len(left) == len(table) - 40 > 0
    assert "copies left" in said
    assert left["reason"].str.startswith("robust: ").all()
    assert "Next: cxrlens train" in cxrlens("split", clean, "-o", dealt, "--folds", 3)
    split = pd.read_csv(dealt)
    assert set(split["split"]) == {"train", "validation", "test"}
    assert split.loc[split["split"] == "test", "fold"].isna().all()
    assert "exists already" in cxrlens("split", clean, "-o", dealt, code=2)
    cxrlens("split", clean, "-o", dealt, "--force")
    number = pd.Series(range(len(split)))
    shared = split.assign(patient="P" + (number // 2).astype(str), fold=number % 2)
    shared["split"] = number.map(lambda n: ("train", "test")[n % 2])
    shared.to_csv(tmp_path / "shared.csv", index=False)
    assert "cxrlens split makes splits by patient" in " ".join(
        cxrlens("explore", tmp_path / "shared.csv", "-o", tmp_path / "e.html", code=2).split()
    )
    said = cxrlens("split", tmp_path / "shared.csv", "-o", tmp_path / "new.csv")
    assert "folds were of another split and are left out" in " ".join(said.split())
    new = pd.read_csv(tmp_path / "new.csv")
    assert new.groupby("patient")["split"].nunique().max() == 1
    assert "fold" not in new


def test_pairs_without_acquisitions_changes_nothing_and_says_so(
    tmp_path: Path, phantom_table: Path
) -> None:
    table = pd.read_csv(phantom_table).drop(columns="acquisition")
    table["image"] = [str(phantom_table.parent / image) for image in table["image"]]
    table.to_csv(tmp_path / "films.csv", index=False)
    said = cxrlens("pairs", tmp_path / "films.csv", "-o", tmp_path / "clean.csv")
    assert "nothing changed" in said
    assert len(pd.read_csv(tmp_path / "clean.csv")) == len(table)


def test_check_and_repair_go_on_past_a_broken_film(tmp_path: Path, phantom_table: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    images = sorted((phantom_table.parent / "images").iterdir())[:4]
    for image in images:
        (folder / image.name).write_bytes(image.read_bytes())
    (folder / "broken.png").write_bytes(images[0].read_bytes()[:200])
    film = cv2.imread(str(images[0]), cv2.IMREAD_GRAYSCALE)
    assert film is not None
    cv2.imwrite(str(folder / "negative.png"), 255 - film)
    said = cxrlens("check", folder, "--csv", tmp_path / "findings.csv", code=1)
    assert "broken.png" in said
    findings = pd.read_csv(tmp_path / "findings.csv").set_index("image")
    assert len(findings) == 5
    assert findings["negative_score"].between(0, 1).all()
    assert findings["repairs"].isna().all()

    said = cxrlens("repair", folder, "-o", tmp_path / "out", "--side", 64, code=1)
    copies = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert len(copies) == 5
    assert "negative.png" in copies
    cxrlens("repair", folder, "-o", tmp_path / "out", code=2)
    nowhere = tmp_path / "findings.csv" / "out"
    for verb, option in (("check", "--csv"), ("repair", "-o")):
        said = cxrlens(verb, folder, option, nowhere, code=2)
        assert f"{nowhere}" in said
        assert "could not be written: a part of its path is a file" in said
        assert "broken.png" not in said  # nobody looked at a film


@pytest.mark.usefixtures("thin_films_break_a_step")
def test_a_film_that_a_step_fails_on_takes_none_with_it(
    small_run: Run, tmp_path: Path, phantom_table: Path
) -> None:
    folder, model = tmp_path / "films", ("--model", small_run.path)
    folder.mkdir()
    for image in sorted((phantom_table.parent / "images").iterdir())[:2]:
        shutil.copy(image, folder)
    cv2.imwrite(str(folder / "thin.png"), np.full((5000, 1), 90, np.uint8))
    for verb, options in {
        "check": ("--csv", tmp_path / "findings.csv"),
        "repair": ("-o", tmp_path / "repaired", "--chain", "robust"),
        "predict": (*model, "--csv", tmp_path / "predictions.csv"),
        "explain": (*model, "-o", tmp_path / "explained"),
    }.items():
        said = cxrlens(verb, folder, *options, code=1)
        assert "thin.png cannot be worked on (ZeroDivisionError at conftest.py:" in said, verb
        assert "secret" not in said
    for table in ("findings.csv", "repaired/findings.csv", "predictions.csv"):
        assert len(pd.read_csv(tmp_path / table)) == 2
    assert len([*(tmp_path / "explained").glob("0*.png")]) == 2


def test_a_table_is_printed_alone_and_what_else_is_said_goes_to_stderr(
    small_run: Run, phantom_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    films = [str(path) for path in sorted((phantom_table.parent / "images").iterdir())[:2]]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"broken")
    model = ("--model", str(small_run.path))
    for verb, read in (
        (("predict", *model, "--csv"), pd.read_csv),
        (("predict", *model, "--json"), pd.read_json),
        (("check", "--csv"), pd.read_csv),
    ):
        told = CliRunner().invoke(app, [*verb, "-", *films, str(broken)])
        assert told.exit_code == 1
        assert read(io.StringIO(told.stdout))["image"].tolist() == films
        assert "broken.png" in told.stderr
        assert "2 films" in told.stderr
    resumed = CliRunner().invoke(app, ["predict", films[0], *model, "--csv", "-", "--resume"])
    assert resumed.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["broken.png"]


def test_a_collection_is_printed_alone_wherever_one_is_written(
    phantom_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(phantom_table.parent)
    before = sorted(Path().iterdir())
    table = str(phantom_table)
    for asked in (["collect", "csv", "."], ["pairs", table], ["split", table]):
        told = CliRunner().invoke(app, [*asked, "-o", "-"])
        assert told.exit_code == 0, (asked, told.output)
        images = pd.read_csv(io.StringIO(told.stdout))["image"]
        assert images.map(lambda path: Path(path).is_file()).all()
        assert "films" in told.stderr or "train" in told.stderr
    assert CliRunner().invoke(app, ["calibrate", table, "-o", "-"]).exit_code == 2
    assert sorted(Path().iterdir()) == before


def test_a_patient_younger_than_those_who_taught_the_model_is_unsure(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(small_run.path, tmp_path / "run")
    numbers = Numbers(offsets=[0, 0], thresholds=[0, 0], temperature=1, margin=0, margins=[0, 1])
    told = Trust(small_run.classes, numbers, youngest_of=dict.fromkeys(LABELS, 12.0))
    write_trust(run, small_run.digest, small_run.classes, told)
    grey = np.tile(np.linspace(0, 4000, 64).astype(np.uint16), (64, 1))
    films = tmp_path / "films"
    films.mkdir()
    for name, tags in (
        ("two", {"PatientAge": "002Y"}),
        ("born", {"PatientBirthDate": "20200101", "StudyDate": "20221231"}),
        ("grown", {"PatientAge": "030Y"}),
        ("unknown", {}),
    ):
        film = pydicom.dcmread(io.BytesIO(native(grey, 12)))
        for tag, text in tags.items():
            setattr(film, tag, text)
        film.save_as(films / f"{name}.dcm")
    predict = ["predict", str(films), "--model", str(run)]
    table = ["--csv", str(tmp_path / "p.csv"), "--force"]
    words = "unsure (age): the model has learnt its answer from older patients only\n"
    asked = CliRunner().invoke(app, [*predict, *table])
    assert asked.exit_code == 0, asked.output
    assert "2 unsure (age)" in asked.stdout.replace("\n", " ")
    assert f"{words}  {films / 'born.dcm'}\n  {films / 'two.dcm'}\n" in asked.stdout
    monkeypatch.setattr(sys.modules["cxrlens.cli.models"], "LISTED", 1)
    many = CliRunner().invoke(app, [*predict, *table]).stdout
    assert f"{words}The table's column reason tells which films are unsure" in many
    assert "born.dcm" not in many
    table = pd.read_csv(tmp_path / "p.csv")
    young = table.loc[table["reason"] == "age", "image"]
    assert [Path(film).stem for film in young] == ["born", "two"]
    assert words in CliRunner().invoke(app, predict).stdout


@pytest.mark.slow
def test_predict_explain_and_evaluate_a_run(
    small_run: Run, phantom_table: Path, tmp_path: Path
) -> None:
    images = phantom_table.parent / "images"
    said = cxrlens("predict", images, "--model", small_run.path, "--csv", tmp_path / "p.csv")
    assert "not a diagnosis" in said
    assert len(pd.read_csv(tmp_path / "p.csv")) == len(list(images.iterdir()))
    film = next(images.glob("*.png"))
    assert film.name in cxrlens("predict", film, "--model", small_run.path)
    cxrlens(
        "explain",
        film,
        "--model",
        small_run.path,
        "-o",
        tmp_path / "e",
        "--class",
        "normal",
        "--palette",
        "report",
    )
    assert len(list((tmp_path / "e").glob("0*-gradcam-normal.png"))) == 1
    assert "macro F1" in cxrlens("evaluate", "--model", small_run.path)
    other = write_phantoms(tmp_path / "other", 12, side=64, seed=9)
    assert "macro F1" in cxrlens(
        "evaluate", other, "--model", small_run.path, "-o", tmp_path / "ev"
    )
    assert {path.name for path in (tmp_path / "ev").iterdir()} == {
        *("predictions.csv", "metrics.json", "diseases.csv", "operating-points.csv", "report.html")
    }
    table = tmp_path / "ev" / "predictions.csv"
    said = cxrlens(
        "evaluate",
        "--predictions",
        table,
        "--prevalence",
        "tuberculosis=0.02",
        "-o",
        tmp_path / "again",
    )
    assert "Each disease against normal films" in said
    assert "PPV" in said
    assert re.search(r"answered \d\.\d+ \(normal \d\.\d+, ", " ".join(said.split()))
    assert (tmp_path / "again" / "report.html").is_file()
    assert "exists already" in cxrlens(
        "evaluate", "--predictions", table, "-o", tmp_path / "again", code=2
    )
    pd.read_csv(table).drop(columns="label").to_csv(tmp_path / "bare.csv", index=False)
    assert "no column 'label'" in cxrlens(
        "evaluate", "--predictions", tmp_path / "bare.csv", code=2
    )
    for share, told in (("tuberculosis=2", "between 0 and 1"), ("cough=0.1", "name one of")):
        assert told in cxrlens("evaluate", "--predictions", table, "--prevalence", share, code=2)
    for wrong in (("--prevalence", "2"), ("--confirmed", "view"), ("--model", small_run.path)):
        cxrlens("evaluate", "--predictions", table, *wrong, code=2)


def test_a_model_is_not_measured_on_its_training_films(
    small_run: Run, phantom_table: Path, tmp_path: Path
) -> None:
    assert "trained the model" in cxrlens(
        "evaluate", phantom_table, "--model", small_run.path, "-o", tmp_path / "ev", code=2
    )


@pytest.mark.slow
def test_train_on_the_command_line(phantom_table: Path, tmp_path: Path) -> None:
    settings = [
        "side=64",
        "model.blocks=[8]",
        "training.max_epochs=1",
        "training.precision=float32",
    ]
    flags = [part for setting in settings for part in ("--set", setting)]
    said = cxrlens(
        "train",
        "resnet-cross-entropy",
        phantom_table,
        "-o",
        tmp_path / "run",
        "--cache",
        tmp_path / "c",
        *flags,
    )
    assert "Next: cxrlens explain" in said
    assert (tmp_path / "run" / "report.html").is_file()
    cxrlens("train", "--resume", "-o", tmp_path / "run", "--cache", tmp_path / "c")


@pytest.mark.slow
def test_a_broken_film_in_the_middle_of_training_films(phantom_table: Path, tmp_path: Path) -> None:
    table = pd.read_csv(phantom_table)
    table["image"] = [str(phantom_table.parent / image) for image in table["image"]]
    truncated = cv2.imencode(".jpg", np.full((99, 99), 90, np.uint8))[1].tobytes()[:400]
    (tmp_path / "broken.jpg").write_bytes(truncated)
    row = table.iloc[[0]].assign(image="broken.jpg", patient="other", acquisition="other")
    pd.concat([table.iloc[:20], row, table.iloc[20:]]).to_csv(tmp_path / "films.csv", index=False)
    flags = ["--set", "side=64", "--set", "model.blocks=[8]", "--set", "training.max_epochs=1"]
    said = cxrlens(
        "train", "resnet-focal", tmp_path / "films.csv", "-o", tmp_path / "run", "--cache", tmp_path / "c",
        *flags, code=1,
    )  # fmt: skip
    assert "broken.jpg" in said
    assert "1 films could not be read" in said
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["collect", "folder", ".", "-o", "x.csv"], "did you mean folders"),
        (["collect", "folders", "nowhere", "-o", "x.csv"], "there is no folder nowhere"),
        (["split", "nowhere.csv", "-o", "x.csv"], "there is no file nowhere.csv"),
        (["train", "lite0-fnn", "{films}", "-o", "run"], "did you mean lite0-ffn"),
        (
            ["train", "lite0-ffn", "{films}", "-o", "run", "--set", "training.bach=3"],
            "training.batch",
        ),
        (["train", "lite0-ffn", "{films}"], "-o runs/NAME"),
        (
            ["train", "evidence-lite0", "{films}", "-o", "run"],
            "--boxes FILE --lungs FILE, or --set map.boxes=0",
        ),
        (
            ["train", "lite0-ffn", "{films}", "-o", "run", "--boxes", "{films}"],
            "no map that boxes teach",
        ),
        (
            [
                "train",
                "lite0-ffn",
                "{films}",
                "-o",
                "run",
                "--set",
                "model.backbone=convnext_tinny",
            ],
            "convnext_tiny",
        ),
        (["predict", "{films}", "--model", "nowhere"], "nowhere does not exist: name a run"),
        (["predict", "nowhere.png", "--model", "{run}"], "nowhere.png does not exist"),
        (
            ["explain", "{film}", "--model", "{run}", "-o", "e", "--method", "gradcan"],
            "known are evidence, gradcam",
        ),
        (
            ["check", "{film}", "--csv", "x.csv", "--chain", "raport"],
            "'raport' is not one of 'none',",
        ),
        (["check", "nowhere", "--csv", "x.csv"], "nowhere does not exist"),
        (["check", ".", "--csv", "x.csv"], "there is no film below ."),
        (
            ["predict", "{film}", "--model", "{run}", "--csv", "."],
            ". is a folder: name a file in it",
        ),
        (["repair", "{film}", "-o", "r", "--side", "100000"], "less than or equal to 4096"),
        (
            ["serve", "--model", "{run}", "--host", "nobody.invalid", "--token-file", "token"],
            "nobody.invalid is no address of this machine",
        ),
        (
            ["serve", "--model", "{run}", "--tls-certificate", "no.pem", "--tls-key", "no.pem"],
            "no.pem cannot be read: No such file or directory",
        ),
        (
            ["serve", "--model", "{run}", "--tls-certificate", "{film}", "--tls-key", "{film}"],
            "are no certificate and its key",
        ),
    ],
)
def test_faults_are_one_sentence(
    arguments: list[str],
    sentence: str,
    phantom_table: Path,
    small_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("a-token-of-some-length")
    film = next((phantom_table.parent / "images").iterdir())
    places = {"films": phantom_table, "run": small_run.path, "film": film}
    said = cxrlens(*(argument.format(**places) for argument in arguments), code=2)
    assert sentence in " ".join(said.split())


@pytest.mark.parametrize("verb", ["train", "predict"])
def test_without_torch_the_extra_is_named(
    verb: str, small_run: Run, phantom_table: Path, tmp_path: Path
) -> None:
    arguments = {
        "train": ["train", "lite0-ffn", str(phantom_table), "-o", str(tmp_path / "run")],
        "predict": [
            "predict",
            str(phantom_table.parent / "images"),
            "--model",
            str(small_run.path),
        ],
    }[verb]
    code = f"""
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('torch', 'lightning'):
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)

sys.meta_path.insert(0, Hidden())
sys.argv = ['cxrlens', *{arguments}]
from cxrlens.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "[train]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_table_from_elsewhere_with_a_missing_film_and_copies(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "set", 30, side=64, seed=1)
    films = pd.read_csv(tmp_path / "set" / "films.csv", dtype=str)
    rows = films.assign(
        Finding=films["label"].replace("tuberculosis", "TB").str.upper(),
        PatientID=["NA", *films["patient"][1:]],
    )[["image", "Finding", "PatientID"]]
    image = cv2.imread(str(tmp_path / "set" / rows["image"][0]), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(tmp_path / "set" / "again.bmp"), image)
    twin = {"image": "again.bmp", "Finding": "NORMAL", "PatientID": "None"}
    gone = twin | {"image": "gone.png", "PatientID": "null"}
    table = tmp_path / "set" / "theirs.csv"
    pd.concat([rows, pd.DataFrame([twin, gone])]).to_csv(table, sep=";", index=False)
    out, dealt = tmp_path / "films.csv", tmp_path / "split.csv"
    assert "did you mean" in cxrlens("collect", "csv", table, "-o", out, code=2)
    words = ("--map", "patient=PatientID", "--map", "label=Finding")
    said = cxrlens("collect", "csv", table, "-o", out, *words, code=2)
    assert "--map TB=tuberculosis" in said
    said = cxrlens("collect", "csv", table, "-o", out, *words, "--map", "TB=tuberculosis", code=1)
    assert "gone.png is not there" in said
    assert "31 films" in said
    said = cxrlens("split", out, "-o", dealt)
    assert "2 files hold 1 films" in said
    assert "more than one patient" in said
    found = pd.read_csv(dealt, dtype=str, keep_default_na=False).set_index("patient")["split"]
    assert found["NA"] == found["None"]


def test_a_model_that_nobody_judged_elsewhere_says_so_and_the_one_in_the_box_was(tmp_path):
    root, runner = Path(__file__).parents[2], CliRunner()
    first = root / "tests" / "artefacts" / "first" / "bundle"
    said = runner.invoke(app, ["models", str(first), "--card", str(tmp_path / "card.md")])
    assert "No score outside" in said.output
    assert (tmp_path / "card.md").read_text("utf-8").startswith("---\nlicense: other")
    assert runner.invoke(app, ["models", "--card", str(tmp_path / "x.md")]).exit_code == 2
    (box,) = root.glob("models/evidence-lungs/src/*/evidence-lungs")
    said = runner.invoke(app, ["models", str(box)])
    assert "outside, shenzhen: tuberculosis AUC" in said.output
    assert "No score outside" not in said.output
