"""A small evidence map trained on drawn films, for tests of more than one room."""

from pathlib import Path

from cxrlens.main_job import train
from cxrlens.phantoms import write_phantoms
from cxrlens.runs import Run


def draw_set(folder: Path, films: int, seed: int) -> Path:
    """Draw films of 64 pixels with boxes and lung masks."""
    return write_phantoms(folder / "set", films, seed=seed, side=64, masks=True).parent


def train_evidence(drawn: Path, folder: Path, epochs: int) -> Run:
    """Train on a set of `draw_set`, taught by its boxes and lungs."""
    shape = ("side=64", "model.backbone=resnet", "model.weights=none", "model.blocks=[8,16]")
    quick = ("model.width=8", "training.batch=8", f"training.max_epochs={epochs}", "map.weight=3")
    return train(
        "evidence-lite0",
        drawn / "films.csv",
        folder / "run",
        settings=(*shape, *quick, "training.precision=float32"),
        boxes=drawn / "boxes.csv",
        lungs=drawn / "lungs.csv",
        cache=folder / "cache",
    )
