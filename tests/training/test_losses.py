import numpy as np
import pytest
import torch

from cxrlens.recipes.recipe import Loss
from cxrlens.training.losses import build_loss, class_weights

RNG = np.random.default_rng(0)
SCORES = RNG.normal(0, 3, (50, 3))
LABELS = RNG.integers(0, 3, 50)
COUNTS = [600, 280, 120]


def in_float64(gamma: float, alpha: np.ndarray) -> float:
    """The report's eq. 4 and 5, with the sign that eq. 5 drops, in plain NumPy."""
    p = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)
    p_y = p[np.arange(50), LABELS]
    return float(np.mean(-alpha[LABELS] * (1 - p_y) ** gamma * np.log(p_y)))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "gamma"), [("cross-entropy", 2.0), ("focal", 0.0), ("focal", 2.0), ("focal", 3.5)]
)
def test_losses_equal_the_formula(name: str, gamma: float, weighted: bool) -> None:
    loss = build_loss(Loss(name=name, gamma=gamma, class_weights=weighted), COUNTS)  # type: ignore[arg-type]
    alpha = 1000 / np.array(COUNTS) if weighted else np.ones(3)
    value = loss(torch.tensor(SCORES, dtype=torch.float32), torch.tensor(LABELS))
    assert float(value) == pytest.approx(
        in_float64(gamma if name == "focal" else 0, alpha), rel=1e-5
    )


def test_cross_entropy_is_pytorch_s() -> None:
    scores, labels = torch.tensor(SCORES), torch.tensor(LABELS)
    ours = build_loss(Loss(), COUNTS)(scores, labels)
    assert float(ours) == pytest.approx(
        float(torch.nn.functional.cross_entropy(scores, labels)), rel=1e-5
    )


def test_class_weights_are_n_over_count() -> None:
    assert class_weights(COUNTS).tolist() == pytest.approx([1000 / 600, 1000 / 280, 1000 / 120])


def test_the_gradient_of_a_certain_film_is_finite() -> None:
    scores = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    build_loss(Loss(name="focal"), COUNTS)(scores, torch.tensor([1])).backward()
    assert torch.isfinite(scores.grad).all()  # type: ignore[arg-type]
