"""What people meet in a notebook: a line, a table or a picture of each thing; and the docs' own, run."""

import json
from pathlib import Path

import pytest

from cxrlens.collections.collection import Collection, read_collection
from cxrlens.prediction import load
from cxrlens.runs import Run, open_model

NOTEBOOK = Path(__file__).parents[1] / "docs" / "from_films_to_model.ipynb"


def test_each_thing_is_a_line_and_a_table_or_a_picture(
    small_run: Run, phantoms: Collection
) -> None:
    model = load(small_run.path)
    prediction = model.predict(phantoms.films["image"].iloc[0])
    heat = prediction.explain()
    box = open_model()
    lines = [repr(one) for one in (model, prediction, heat, small_run, box, phantoms)]
    assert [line for line in lines if "\n" in line or len(line) > 250] == []
    assert f"<Predictor {small_run.digest}: normal, pneumonia, tuberculosis" in lines[0]
    assert f".jpg: {prediction.predicted}" in lines[1]
    assert lines[2] == f"<HeatMap {heat.method} for {heat.target}, 64 × 64 pixels>"
    assert lines[3] == f"<Run {small_run.path}: recipe resnet-focal, digest {small_run.digest}>"
    assert lines[4] == f"<Bundle {box.path}: recipe {box.recipe.name}, digest {box.digest}>"
    counts = ", ".join(f"{count} {label}" for label, count in phantoms.counts().items())
    assert lines[5].startswith(f"<Collection: 48 films ({counts}) of ")
    assert f"{len(phantoms.split('test'))} test>" in lines[5]
    assert heat._repr_png_().startswith(b"\x89PNG")
    assert "<td>tuberculosis</td>" in prediction._repr_html_()
    for saved in (small_run, box):
        assert "<td>test</td>" in saved._repr_html_()


def test_what_a_table_holds_is_text_in_a_notebook(phantoms: Collection) -> None:
    named = phantoms.films.assign(source="<script>alert(1)</script>")
    told = phantoms.of(named)._repr_html_()
    assert "<script>" not in told
    assert "&lt;script&gt;" in told


def test_a_run_that_is_damaged_says_so_in_its_line(tmp_path: Path) -> None:
    (tmp_path / "versions.json").write_text('{"format": 1, "cxrlens": "0.1.0"}')
    assert "recipe.yaml" in repr(Run(tmp_path))


@pytest.mark.slow
def test_the_notebook_goes_from_films_to_an_audited_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat, nbclient = (pytest.importorskip(name) for name in ("nbformat", "nbclient"))
    monkeypatch.setenv("CXRLENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells), "the notebook is kept without its outputs"
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=1800, resources=place).execute()
    shown = [one.get("data", {}) for cell in cells for one in cell.outputs]
    kinds = {kind for data in shown for kind in data}
    assert {"text/html", "image/png"} <= kinds
    assert (tmp_path / "site.json").is_file()
    metrics = json.loads((tmp_path / "runs" / "mine" / "metrics.json").read_text())
    assert metrics["test"]["macro_auc"] > 0.8
    assert load(tmp_path / "runs" / "mine", site=tmp_path / "site.json").trust.site
    assert len(read_collection(tmp_path / "mine" / "films.csv")) == 400
