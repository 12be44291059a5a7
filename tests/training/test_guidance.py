from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from cxrlens.collections.collection import Boxes, Lungs
from cxrlens.errors import CollectionError
from cxrlens.phantoms import draw_phantom
from cxrlens.quality.chain import Chain
from cxrlens.recipes.recipe import MapTeaching
from cxrlens.training.augment import SIDE, draw_guidance
from cxrlens.training.losses import map_loss

CHAIN = Chain.named("none", 64)


def boxes(image: str, *sides: tuple[float, float, float, float]) -> Boxes:
    rows = [
        {"image": image, "finding": "x", **dict(zip(("x0", "y0", "x1", "y1"), of, strict=True))}
        for of in sides
    ]
    return Boxes(pd.DataFrame(rows))


def test_boxes_become_pictures_of_their_films() -> None:
    drawn = boxes("b", (0.25, 0.5, 0.5, 1.0), (0.0, 0.0, 0.001, 0.001))
    found = draw_guidance(["a", "b"], ["", ""], CHAIN, drawn, None).of([1, 0, 1])
    assert found.boxed.tolist() == [True, False, True]
    assert not found.masked.any()
    picture = found.pictures[0, 0]
    assert picture[SIDE // 2 :, SIDE // 4 : SIDE // 2].min() == 1
    # The smallest box still covers a pixel.
    assert picture.sum() == SIDE // 2 * SIDE // 4 + 1
    assert found.pictures[1].sum() == 0


def test_lungs_are_widened_and_both_halves_count(tmp_path: Path) -> None:
    film = tmp_path / "a.png"
    cv2.imwrite(str(film), np.full((112, 112), 90, np.uint8))
    rows = []
    for name, columns in (("left", slice(20, 40)), ("right", slice(70, 90))):
        mask = np.zeros((112, 112), np.uint8)
        mask[30:80, columns] = 255
        cv2.imwrite(str(tmp_path / f"{name}.png"), mask)
        rows.append({"image": str(film), "mask": str(tmp_path / f"{name}.png")})
    guidance = draw_guidance([str(film)], [""], CHAIN, None, Lungs(pd.DataFrame(rows)))
    picture = guidance.of([0]).pictures[0, 1]
    # Ten pixels wide and two more on each side, twice.
    assert picture[28].sum() == 2 * (10 + 4)
    assert picture[:, 15].sum() == 25 + 4
    cv2.imwrite(str(tmp_path / "left.png"), np.zeros((112, 112), np.uint8))
    with pytest.raises(CollectionError, match=r"left\.png is empty"):
        draw_guidance([str(film)], [""], CHAIN, None, Lungs(pd.DataFrame(rows)))


def test_what_the_chain_crops_is_cropped_from_boxes_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    film = np.zeros((200, 260), np.uint8)
    film[:, 60:] = rng.normal(140, 25, (200, 200)).clip(0, 255)
    cv2.imwrite(str(tmp_path / "a.png"), film)
    chain = Chain.named("robust", 64, ["padded"])
    examined = chain.examine(film)
    assert examined.repairs == ("crop",)
    image = str(tmp_path / "a.png")
    drawn = boxes(image, (160 / 260, 0.0, 1.0, 1.0), (0.0, 0.0, 0.2, 1.0))
    picture = draw_guidance([image], ["crop"], chain, drawn, None).of([0]).pictures[0, 0]
    # The right half of what is left; the box on the border is gone.
    assert picture.mean() == pytest.approx(0.5, abs=0.03)
    assert picture[:, : SIDE // 2 - 1].sum() == 0


def test_what_is_cropped_to_the_lungs_is_cropped_from_boxes_too(tmp_path: Path) -> None:
    film = draw_phantom(2, "normal", side=224).film
    cv2.imwrite(str(tmp_path / "a.png"), film)
    chain = Chain.named("none", 64, lungs="crop")
    top, bottom, left, right = chain.examine(film).cropped
    assert min(top + bottom, left + right) > 10
    image = str(tmp_path / "a.png")
    middle = (top + (224 - bottom)) / 2 / 224
    drawn = boxes(image, (left / 224, top / 224, 1 - right / 224, middle))
    picture = draw_guidance([image], [""], chain, drawn, None).of([0]).pictures[0, 0]
    assert picture[: SIDE // 2].min() == 1
    assert picture[SIDE // 2 + 1 :].max() == 0


def known(**of: object) -> tuple[torch.Tensor, ...]:
    given = {
        "labels": torch.tensor([2]),
        "boxes": torch.zeros(1, 4, 4),
        "boxed": torch.tensor([False]),
        "lungs": torch.ones(1, 4, 4),
        "masked": torch.tensor([False]),
    } | of
    return tuple(given.values())  # type: ignore[return-value]


def gradient(settings: MapTeaching | None = None, **of: object) -> torch.Tensor:
    evidence = torch.zeros(1, 2, 4, 4, requires_grad=True)
    loss = map_loss(evidence, *known(**of), settings or MapTeaching())
    loss.backward()
    assert evidence.grad is not None
    return evidence.grad[0]


def test_inside_a_box_evidence_rises_and_outside_it_falls_for_its_own_disease() -> None:
    inside = torch.zeros(1, 4, 4)
    inside[0, 1, 2] = 1
    pulled = gradient(boxes=inside, boxed=torch.tensor([True]))
    assert pulled[1, 1, 2] < 0
    assert (pulled[1] > 0).sum() == 15
    # A film of one disease says nothing of the other.
    assert (pulled[0] == 0).all()
    assert pulled[1, 1, 2] / pulled[1, 0, 0] == pytest.approx(-3)


def test_a_normal_film_has_none_and_no_film_has_any_outside_its_lungs() -> None:
    assert (gradient(labels=torch.tensor([0])) > 0).all()
    half = torch.ones(1, 4, 4)
    half[0, :, 2:] = 0
    pulled = gradient(lungs=half, masked=torch.tensor([True]))
    assert (pulled[:, :, 2:] > 0).all()
    assert (pulled[:, :, :2] == 0).all()


def test_weights_of_nought_leave_a_teacher_out() -> None:
    assert (gradient(MapTeaching(normals=0), labels=torch.tensor([0])) == 0).all()
    assert (
        gradient(MapTeaching(lungs=0), lungs=torch.zeros(1, 4, 4), masked=torch.tensor([True])) == 0
    ).all()
    assert (
        gradient(MapTeaching(boxes=0), boxes=torch.ones(1, 4, 4), boxed=torch.tensor([True])) == 0
    ).all()
    # Nothing is known: nothing is taught.
    assert (gradient() == 0).all()
