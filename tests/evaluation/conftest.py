from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxrlens.collections.collection import Collection
from cxrlens.recipes.recipe import read_recipe
from cxrlens.runs.run import Run

from .drawn_predictions import draw

COURSE = pd.DataFrame(
    {
        "epoch": [0, 1, 2],
        "learning_rate": [1e-4, 1e-3, 1e-4],
        "train_loss": [1.0, 0.5, 0.2],
        "train_accuracy": [0.6, 0.8, 0.95],
        "validation_loss": [0.9, 0.6, 0.7],
        "validation_accuracy": [0.65, 0.85, 0.8],
        "seconds": [60.0, 60.0, 30.0],
    }
)

MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Makes run folders whose predictions are drawn: same `films` seed, same films and labels."""
    folder = tmp_path / "films"
    folder.mkdir()
    grey = np.zeros((8, 8), np.uint8)

    def make(name, skill=1.5, films=120, settings=(), recipe="lite0-ffn", place=None):
        table = draw(films=films, patients=60, seed=0, skill=1.5)
        table["image"] = [str(folder / image) for image in table["image"]]
        for image in table["image"]:
            if not Path(image).exists():
                Image.fromarray(grey).save(image)
        random = np.random.default_rng(len(name))
        wrong = random.random(films) > skill / 2
        table.loc[wrong, "predicted"] = random.choice(["normal", "pneumonia"], wrong.sum())
        facts = {"device": "cpu", "precision": {"chosen": "float32"}, "weights": "drawn by hand"}
        collection = Collection(table[["image", "label", "patient", "source"]].assign(split="test"))
        run = Run.create(
            place or tmp_path / "runs" / name, read_recipe(recipe, settings), collection, facts
        )
        run.write_history(COURSE)
        run.write_predictions("test", table)
        run.write_predictions("validation", table.iloc[: films // 2])
        return run

    return make
