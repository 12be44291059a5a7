"""Grad-CAM: which parts of the last feature maps raise a class's score (Selvaraju et al. 2017)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxrlens.models.classifier import FilmClassifier


def gradcam(model: FilmClassifier, film: NDArray[np.uint8], output: int) -> NDArray[np.float32]:
    """Compute the Grad-CAM map of one film for one score.

    The gradient of the class's score before softmax with respect to the last feature maps, averaged
    over each map, weighs the maps; the sum's negative part is cut off (Algorithm 1 of the report).

    Parameters
    ----------
    model
        A classifier; it is used in inference mode and its weights get no gradient.
    film
        (S, S) uint8 as the model sees it, that is, after the quality chain.
    output
        Index of the score.

    Returns
    -------
    ndarray of float32
        (h, w) on the grid of the last feature maps, 0 or more; all 0 if no part raises the score.
    """
    model.eval()
    device = next(model.parameters()).device
    with torch.enable_grad():
        with torch.no_grad():
            maps = model.maps(torch.from_numpy(np.array(film))[None].to(device))
        maps = maps.detach().requires_grad_()
        score = model.scores(maps)[0, output]
        (gradient,) = torch.autograd.grad(score, maps)
    cam: Tensor = (gradient.mean((2, 3), keepdim=True) * maps).sum(1)[0].clamp(min=0).detach()
    values: NDArray[np.float32] = cam.float().cpu().numpy()
    return values
