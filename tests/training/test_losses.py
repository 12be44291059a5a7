import numpy as np
import pytest
import torch

from cxrlens.recipes.recipe import Loss
from cxrlens.training.losses import build_loss, class_weights, taught_loss, taught_map_loss

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


def by_hand(name: str, row: np.ndarray, t: int) -> float:
    """Each hinge of one film in float64, from its printed formula."""
    wrong = [y for y in range(3) if y != t]
    if name == "weston-watkins":
        return sum(max(0.0, 1 + row[y] - row[t]) for y in wrong)
    if name == "crammer-singer":
        return max(0.0, max(1 + row[y] - row[t] for y in wrong))
    return sum(max(0.0, 1 - (1 if y == t else -1) * row[y]) for y in range(3))


@pytest.mark.parametrize("name", ["weston-watkins", "crammer-singer", "binary-ova"])
@pytest.mark.parametrize("weighted", [False, True])
def test_hinges_are_their_formulas(name: str, weighted: bool) -> None:
    loss = build_loss(Loss(name=name, class_weights=weighted), COUNTS)  # type: ignore[arg-type]
    alpha = 1000 / np.array(COUNTS) if weighted else np.ones(3)
    expected = np.mean(
        [alpha[t] * by_hand(name, row, t) for row, t in zip(SCORES, LABELS, strict=True)]
    )
    got = loss(torch.from_numpy(SCORES), torch.from_numpy(LABELS))
    assert float(got) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_binary_focal_is_its_formula(gamma: float) -> None:
    score, rest = SCORES[:, :1], (LABELS != 0).astype(np.int64)
    p = 1 / (1 + np.exp(-score[:, 0]))
    p_t = np.where(rest == 0, p, 1 - p)
    expected = np.mean(-((1 - p_t) ** gamma) * np.log(p_t))
    loss = build_loss(Loss(name="binary-focal", gamma=gamma), [1, 2])
    got = loss(torch.from_numpy(score), torch.from_numpy(rest))
    assert float(got) == pytest.approx(expected, rel=1e-6)


def test_a_teacher_is_agreed_with_at_no_loss() -> None:
    theirs = torch.tensor(SCORES)
    own = theirs + torch.tensor(RNG.normal(0, 1, (50, 3)))
    assert taught_loss(theirs + 5, theirs).item() == pytest.approx(0, abs=1e-5)
    p, q = (torch.softmax(of, 1).numpy() for of in (theirs, own))
    by_hand = (p * np.log(p / q)).sum(1).mean()
    assert taught_loss(own, theirs).item() == pytest.approx(by_hand, rel=1e-4)


def test_a_taught_map_is_agreed_with_place_by_place() -> None:
    theirs = torch.tensor(RNG.normal(-2, 2, (4, 2, 7, 7)))
    assert taught_map_loss(theirs, theirs).item() == pytest.approx(0, abs=1e-6)
    own = theirs.clone()
    own[1, 0, 3, 3] += 2
    p, q = (torch.sigmoid(of[1, 0, 3, 3]).item() for of in (theirs, own))
    by_hand = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert taught_map_loss(own, theirs).item() == pytest.approx(by_hand / theirs.numel(), rel=1e-3)
