"""Predictions drawn from a known law, for tests."""

import numpy as np
import pandas as pd

CLASSES = ("normal", "pneumonia", "tuberculosis")


def draw(films=300, patients=120, seed=0, skill=1.5, decimals=3):
    """A table of predictions; films of a patient share their label and part of their score."""
    random = np.random.default_rng(seed)
    patient = random.integers(0, patients, films)
    label = random.integers(0, 3, patients)[patient]
    shared = random.normal(size=(patients, 3))[patient]
    scores = random.normal(size=(films, 3)) + shared
    scores[np.arange(films), label] += skill
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    shares = shares.round(decimals)  # so that some are equal
    table = pd.DataFrame(dict(zip(CLASSES, shares.T, strict=True)))
    table.insert(0, "image", [f"film-{i}.png" for i in range(films)])
    table.insert(1, "predicted", [CLASSES[i] for i in shares.argmax(axis=1)])
    table["calibrated"] = False
    table["label"] = [CLASSES[i] for i in label]
    table["patient"] = [f"P{i}" for i in patient]
    table["source"] = [("here", "there")[i % 2] for i in patient]
    return table
