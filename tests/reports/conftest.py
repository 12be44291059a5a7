import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxrlens.collections.collection import read_collection
from cxrlens.recipes.recipe import read_recipe
from cxrlens.runs.run import Run

from ..evaluation.drawn_predictions import CLASSES, draw

HISTORY = pd.DataFrame(
    {
        "epoch": [0, 1, 2],
        "learning_rate": [1e-4, 1e-3, 1e-4],
        "train_loss": [1.0, 0.5, 0.2],
        "train_accuracy": [0.6, 0.8, 0.95],
        "validation_loss": [0.9, 0.6, 0.7],
        "validation_accuracy": [0.65, 0.85, 0.8],
        "seconds": [10.0, 10.0, 10.0],
    }
)


@pytest.fixture
def run(tmp_path):
    """A run folder as training leaves it, with 60 tiny test films."""
    random = np.random.default_rng(0)
    films = draw(films=60, patients=40, skill=1.0)
    folder = tmp_path / "films"
    folder.mkdir()
    for name in films["image"]:
        grey = random.integers(0, 256, (24, 20), dtype=np.uint8)
        Image.fromarray(grey).save(folder / name)
    table = films[["image", "label", "patient", "source"]].assign(
        split="test", age=[float(20 + i) for i in range(60)], sex="F", view="PA"
    )
    table.to_csv(folder / "films.csv", index=False)
    collection = read_collection(folder / "films.csv")
    facts = {"device": "cpu", "precision": {"chosen": "float32"}, "weights": "drawn by hand"}
    made = Run.create(tmp_path / "runs" / "small", read_recipe("lite0-ffn"), collection, facts)
    made.write_history(HISTORY)
    predictions = films.assign(image=collection.films["image"].astype(str), blurred=False)
    made.write_predictions("test", predictions)
    made.write_predictions("validation", predictions.iloc[:30])
    assert made.classes == CLASSES
    return made
