"""Films put together anew: lesions carried into normal films, films of one class mixed."""

import numpy as np
import pytest
import torch

from cxrlens.errors import RecipeError
from cxrlens.recipes.recipe import read_recipe
from cxrlens.training.augment import (
    SIDE,
    Batch,
    Guided,
    Transplants,
    draw_mixing,
    draw_transplants,
    mixed,
    transplanted,
)

PART = slice(SIDE // 4, SIDE // 2)
SHOWN = slice(24, 104)
"""The part on a film of 224 pixels, and a little more."""


def batch() -> Batch:
    """Two normal films, a dark one and a bright one, and one with a chequered lesion in its box."""
    rng = np.random.default_rng(0)
    films = rng.normal(100, 10, (3, 224, 224))
    films[1] += 60
    films[2, 56:112, 56:112] += 60 * (np.indices((56, 56)).sum(0) // 8 % 2)
    pictures = torch.zeros(3, 2, SIDE, SIDE)
    pictures[2, 0, PART, PART] = 1
    pictures[:, 1, :, PART] = 1
    return Batch(
        torch.from_numpy(films.astype(np.uint8)),
        torch.tensor([0, 0, 2]),
        torch.full((3, 3), -1.0),
        Guided(pictures, torch.tensor([False, False, True]), torch.tensor([True, True, True])),
    )


def one(host: int, donor: int, ill: bool, mirrored: bool = False) -> Transplants:
    numbers = (torch.tensor([value]) for value in (host, donor, 2))
    return Transplants(*numbers, torch.tensor([ill]), torch.tensor([mirrored]))


def test_a_lesion_comes_with_its_label_and_box_and_without_its_greys() -> None:
    given = batch()
    found = transplanted(given, one(1, 2, ill=True))
    assert found.labels.tolist() == [0, 2, 2]
    assert found.guided is not None
    assert found.prior is not None
    assert torch.equal(found.guided.pictures[1, 0], found.guided.pictures[2, 0])
    assert found.guided.boxed.tolist() == [False, True, True]
    assert found.prior[:, 0].tolist() == [-1, 0, -1]
    changed = (found.films[1].float() - given.films[1].float()).abs()
    assert changed[76:92, 76:92].mean() > 5
    # Nothing else is touched, and no seam is a step of the films' difference of 60.
    assert changed[128:].max() == 0
    assert torch.equal(found.films[[0, 2]], given.films[[0, 2]])
    assert found.films[1, 72:96, 72:96].float().mean() == pytest.approx(160, abs=25)
    # The batch itself stays as it was.
    assert given.labels.tolist() == [0, 0, 2]
    assert given.prior is not None
    assert given.prior.unique().tolist() == [-1]


def test_a_normal_part_leaves_a_film_normal() -> None:
    given = batch()
    found = transplanted(given, one(1, 0, ill=False))
    assert found.labels.tolist() == [0, 0, 2]
    assert found.guided is not None
    assert found.guided.boxed.tolist() == [False, False, True]
    assert not torch.equal(found.films[1, SHOWN, SHOWN], given.films[1, SHOWN, SHOWN])


def test_a_mirrored_lesion_lies_on_the_other_side() -> None:
    given = batch()
    found = transplanted(given, one(0, 2, ill=True, mirrored=True))
    changed = (found.films[0].float() - given.films[0].float()).abs()
    assert changed[76:92, 224 - 92 : 224 - 76].mean() > 5
    assert changed[:, :96].max() == 0
    assert found.guided is not None
    assert found.guided.pictures[0, 0, PART, SIDE // 2 : SIDE * 3 // 4].min() == 1


def test_as_many_normal_parts_as_lesions_are_drawn() -> None:
    torch.manual_seed(0)
    labels, boxed = torch.tensor([0] * 10 + [2] * 5), torch.tensor([False] * 12 + [True] * 3)
    drawn = draw_transplants(labels, boxed, 0.3)
    assert drawn.ill.sum() == 3
    assert len(drawn.hosts.unique()) == len(drawn.hosts) == 6
    assert (labels[drawn.hosts] == 0).all()
    assert boxed[drawn.shapes].all()
    assert torch.equal(drawn.donors[drawn.ill], drawn.shapes[drawn.ill])
    assert (labels[drawn.donors[~drawn.ill]] == 0).all()
    without = draw_transplants(labels, torch.zeros(15, dtype=torch.bool), 0.3)
    assert len(without.hosts) == 0
    assert transplanted(batch(), without).labels.tolist() == [0, 0, 2]


def test_only_films_of_one_class_are_mixed_and_none_with_boxes() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0] * 20 + [2] * 20)
    boxed = torch.arange(40) >= 30
    films = torch.zeros(40, 8, 8, dtype=torch.uint8)
    guided = Guided(torch.zeros(40, 2, SIDE, SIDE), boxed, ~boxed)
    drawn = draw_mixing(Batch(films, labels, None, guided), 0.5)
    assert torch.equal(labels[drawn.other], labels)
    assert not drawn.weight[boxed].any()
    assert 8 <= (drawn.weight > 0).sum() <= 22
    shown = labels.float()[:, None, None, None].expand(-1, 1, 8, 8)
    assert torch.equal(mixed(shown, drawn), shown)
    grey = torch.arange(40.0)[:, None, None, None].expand(-1, 1, 8, 8)
    expected = torch.arange(40) * (1 - drawn.weight) + drawn.other * drawn.weight
    assert torch.allclose(mixed(grey, drawn)[:, 0, 3, 3], expected)


def test_what_needs_boxes_or_lungs_is_refused_without_a_map() -> None:
    with pytest.raises(RecipeError, match=r"augmentation\.transplant.* the key map"):
        read_recipe("lite0-ffn", ["augmentation={transplant: 0.2}"])
