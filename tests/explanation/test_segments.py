import cv2
import numpy as np
import pytest

from cxrlens.explanation.lime import superpixels
from cxrlens.phantoms import draw_phantom


def explained(film: np.ndarray, segments: np.ndarray) -> float:
    """Share of the film's variance that lies between regions."""
    pixels = film.astype(float)
    means = np.bincount(segments.ravel(), pixels.ravel()) / np.bincount(segments.ravel())
    return float(means[segments].var() / pixels.var())


@pytest.mark.parametrize("label", ["normal", "pneumonia", "tuberculosis"])
def test_regions_follow_a_film_as_well_as_scikit_image_s(label: str) -> None:
    skimage = pytest.importorskip("skimage.segmentation")
    film = draw_phantom(3, label, side=160).film
    ours = superpixels(film, 50)
    theirs = skimage.slic(
        film / 255.0, n_segments=50, compactness=0.1, sigma=1, channel_axis=None, start_label=0
    )
    assert abs(int(ours.max()) - int(theirs.max())) <= 15
    assert explained(film, ours) > explained(film, theirs) - 0.02
    squares = np.indices(film.shape) * 7 // 160
    assert explained(film, ours) > explained(film, squares[0] * 7 + squares[1]) + 0.05


@pytest.mark.parametrize("shape", [(160, 160), (97, 64), (1, 1), (5, 300)])
@pytest.mark.parametrize("kind", ["noise", "even", "ramp"])
def test_regions_are_numbered_and_connected(shape: tuple[int, int], kind: str) -> None:
    film = {
        "noise": np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8),
        "even": np.full(shape, 7, np.uint8),
        "ramp": np.broadcast_to(np.linspace(0, 255, shape[1]), shape).astype(np.uint8),
    }[kind]
    segments = superpixels(film, 40)
    assert segments.shape == shape
    assert np.unique(segments).tolist() == list(range(segments.max() + 1))
    for label in range(segments.max() + 1):
        parts, _ = cv2.connectedComponents((segments == label).astype(np.uint8), connectivity=4)
        assert parts == 2
    assert (segments == superpixels(film, 40)).all()
