import numpy as np
import pytest
from numpy.typing import NDArray

from cxrlens.phantoms import draw_phantom


@pytest.fixture(scope="session")
def films() -> list[NDArray[np.uint8]]:
    """Twelve drawn, undamaged films of 224 pixels."""
    labels = ("normal", "pneumonia", "tuberculosis")
    return [draw_phantom(seed, labels[seed % 3]).film for seed in range(12)]
