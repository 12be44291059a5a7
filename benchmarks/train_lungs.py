"""Train the network that draws the lung fields, and write it as an ONNX file.

    python benchmarks/train_lungs.py ROW... [--work DIR] [--steps 1400]

A ROW says which masks it learns from: `free` and `all` (without the held-out fifth of the patients),
`no-shenzhen` and `no-jsrt` (a source left out whole). Each leaves DIR/ROW.onnx; one that is there is not
trained again, and one that was interrupted goes on from its last checkpoint. `measure_lungs.py`
measures them. Besides the masks it learns from phantoms, from drawings and photographs that are no chest
(`gate_drawings.py`, scikit-image), and from films of kermany (CC BY 4.0) that a chest of a child is one.

Losses: Dice and cross-entropy on the lung fields. A mask that holds the heart's shadow asks for no
lung outside of it, for the lung on the side without the apex, and for some lung in the rest. A
second answer says whether this is one whole, upright, frontal chest, and whether it was photographed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import gate_drawings
from cxrlens.export.bundle import forget_origin
from lung_films import Drawn, Film, drawn_films, phantom, undrawn_films
from quality_others import to_calibrate, views

SIDE = 128
ROWS = ("free", "all", "no-shenzhen", "no-jsrt")
BATCH = 24
KEPT = 0.996
"""Of the moving average of the weights, a step."""


class Twice(nn.Sequential):
    """Two convolutions, each with its norm."""

    def __init__(self, come: int, go: int) -> None:
        parts: list[nn.Module] = []
        for into in (come, go):
            parts += [nn.Conv2d(into, go, 3, padding=1, bias=False), nn.BatchNorm2d(go), nn.ReLU()]
        super().__init__(*parts)


class LungNetwork(nn.Module):
    """A U-Net (Ronneberger 2015) on half of the film's side, with an answer for the whole film.

    Takes (batch, 1, 128, 128) grey levels from 0 to 255; gives (batch, 128, 128) logits of lung and
    (batch, 2) logits: of a whole, upright, frontal chest, and of a film photographed from a box or screen.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 24, 48, 80, 112)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, widths[0], 4, stride=2, padding=1)
        self.down = nn.ModuleList(
            Twice(come, go) for come, go in zip((widths[0], *widths), widths, strict=False)
        )
        self.up = nn.ModuleList(
            Twice(deep + near, near)
            for deep, near in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.draw = nn.Conv2d(widths[0], 4, 1)
        self.squeeze = nn.Conv2d(widths[-1], 32, 1)
        self.judge = nn.Sequential(
            nn.Linear(32 * 16, 48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, 2)
        )

    def forward(self, films: Tensor) -> tuple[Tensor, Tensor]:
        """Give the logits of lung, and of the film as a whole."""
        centre = films.mean((2, 3), keepdim=True)
        spread = ((films - centre) ** 2).mean((2, 3), keepdim=True).sqrt()
        x = functional.relu(self.stem((films - centre) / (spread + 8)))
        kept: list[Tensor] = []
        for number, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if number else x)
            kept.append(x)
        chest = self.judge(functional.relu(self.squeeze(x)).flatten(1))
        for block, near in zip(self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0), near], 1))
        return functional.pixel_shuffle(self.draw(x), 2)[:, 0], chest


@dataclass
class Example:
    """What a network is asked about one picture, (128, 128) each."""

    film: NDArray[np.float32]
    lungs: NDArray[np.float32]
    asked: NDArray[np.float32]
    """1 where a pixel counts."""
    some: NDArray[np.float32]
    """1 where lung is somewhere, one cannot say where."""
    chest: float
    """1, 0, or -1 for not asked."""
    photographed: float
    """1, 0, or -1 for not asked."""


def placed(rng: np.random.Generator, mild: bool) -> NDArray[np.float32]:
    """Draw where the film goes: the 2×3 matrix from 224 pixels to 128."""
    turn = rng.normal(0, 5) if mild or rng.random() < 0.5 else rng.uniform(-25, 25)
    scale = (
        rng.uniform(0.85, 1.05)
        if mild or rng.random() < 0.5
        else np.exp(rng.uniform(np.log(0.5), np.log(1.2)))
    )
    reach = 0.04 if mild or rng.random() < 0.5 else 0.18
    stretch = np.exp(rng.normal(0, 0.08, 2))
    mirror = 1.0
    angle = np.deg2rad(turn)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = (
        np.array([[cos, -sin], [sin, cos]]) @ np.diag(stretch * [mirror, 1]) * scale * SIDE / 224
    )
    centre = np.array([SIDE / 2, SIDE / 2]) + rng.uniform(-reach, reach, 2) * SIDE
    offset = centre - linear @ [112, 112]
    return np.hstack([linear, offset[:, None]]).astype(np.float32)


def toned(film: Film, rng: np.random.Generator) -> NDArray[np.float32]:
    """Change tone, grain, sharpness; lay marks and borders over a film."""
    x = film
    if rng.random() < 0.08:
        x = np.asarray(cv2.equalizeHist(x), np.uint8)
    elif rng.random() < 0.08:
        x = np.asarray(cv2.createCLAHE(float(rng.uniform(1, 4)), (8, 8)).apply(x), np.uint8)
    gamma = float(np.exp(rng.normal(0, 0.35)))
    curve = 255 * (np.arange(256) / 255.0) ** gamma
    if rng.random() < 0.4:
        bend = np.interp(
            np.arange(256), np.linspace(0, 255, 5), np.linspace(0, 255, 5) + rng.normal(0, 22, 5)
        )
        curve = np.interp(curve, np.arange(256), bend)
    curve = (curve - 127) * rng.uniform(0.45, 1.25) + 127 + rng.normal(0, 18)
    y = curve.clip(0, 255)[x].astype(np.float32)
    if rng.random() < 0.2:
        ramp = np.linspace(-1, 1, SIDE, dtype=np.float32) * np.float32(rng.normal(0, 30))
        y += ramp[None] if rng.random() < 0.5 else ramp[:, None]
    if rng.random() < 0.35:
        y = np.asarray(cv2.GaussianBlur(y, (0, 0), float(rng.uniform(0.4, 2.2))), np.float32)
    if rng.random() < 0.2:
        few = int(rng.integers(40, 100))
        y = np.asarray(
            cv2.resize(cv2.resize(y, (few, few), interpolation=cv2.INTER_AREA), (SIDE, SIDE)),
            np.float32,
        )
    if rng.random() < 0.5:
        y += rng.normal(0, float(np.exp(rng.uniform(0, 3.4))), y.shape).astype(np.float32)
    if rng.random() < 0.05:
        spots = rng.random(y.shape) < rng.uniform(0.002, 0.08)
        y[spots] = rng.choice([0, 255], int(spots.sum()))
    for _ in range(int(rng.integers(0, 3)) if rng.random() < 0.3 else 0):
        at, size = rng.integers(0, SIDE, 2), rng.integers(4, 26, 2)
        y[at[0] : at[0] + size[0], at[1] : at[1] + size[1]] = rng.choice(
            [0, 255, rng.uniform(0, 255)]
        )
    if rng.random() < 0.15:
        word = "".join(rng.choice(list("LRAPSITNG 0123"), int(rng.integers(1, 9))))
        letters = np.zeros((SIDE, SIDE), np.uint8)
        cv2.putText(
            letters,
            word,
            tuple(int(v) for v in rng.integers(3, 120, 2)),
            0,
            float(rng.uniform(0.25, 0.6)),
            255,
            1,
        )
        y[letters > 0] = 255
    if rng.random() < 0.12:
        side, wide = int(rng.integers(4)), int(rng.integers(2, 16))
        np.rot90(y, side)[:wide] = rng.choice([0, 255, 0])
    if rng.random() < 0.22:
        y = 255 - y
    return y.clip(0, 255)


def one(
    film: Film,
    mask: NDArray[np.bool_] | None,
    with_heart: bool,
    rng: np.random.Generator,
    mild: bool,
) -> Example:
    """Make an example of a chest film."""
    empty = np.zeros((224, 224), np.uint8)
    drawn = empty if mask is None else mask.astype(np.uint8)
    asked = empty if mask is None else empty + 1
    some = empty
    if mask is not None and with_heart:
        # The apex lies on the picture's right: what is drawn on its left is lung.
        count, parts, _, centres = cv2.connectedComponentsWithStats(drawn)
        sizes = [int((parts == i).sum()) for i in range(count)]
        lungs = sorted((i for i in range(1, count) if sizes[i] > 400), key=lambda i: centres[i][0])
        heart = parts == lungs[-1] if len(lungs) > 1 else mask
        some = heart.astype(np.uint8)
        asked = asked * (1 - some)
        drawn = drawn * (1 - some)
    snapped = rng.random() < 0.16
    if snapped:
        mild = True
        film, (drawn, asked, some) = gate_drawings.photographed(film, rng, (drawn, asked, some))
        asked = np.full_like(asked, mask is not None) * (1 - some)
    matrix = placed(rng, mild)
    if snapped:
        matrix = np.array([[SIDE / 224, 0, 0], [0, SIDE / 224, 0]], np.float32)
    if rng.random() < 0.5 and mask is not None:
        film, drawn, asked, some = (
            np.ascontiguousarray(a[:, ::-1]) for a in (film, drawn, asked, some)
        )
    edge = rng.random()
    border, level = (cv2.BORDER_REPLICATE, 0) if edge < 0.3 else (cv2.BORDER_CONSTANT, 0)
    if 0.3 <= edge < 0.5:
        level = int(rng.choice([255, int(rng.integers(0, 256))]))
    grey = cv2.warpAffine(film, matrix, (SIDE, SIDE), borderMode=border, borderValue=level)
    whole = float((drawn | some).sum()) * float(np.linalg.det(matrix[:, :2]))
    drawn, some = (
        cv2.warpAffine(a, matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST) for a in (drawn, some)
    )
    if mask is None:
        seen = 1.0 if mild else -1.0
        asked = np.zeros((SIDE, SIDE), np.uint8)
    else:
        seen = float((drawn | some).sum()) / max(whole, 1.0)
        asked = 1 - some
    chest = 1.0 if seen > 0.94 else 0.0 if 0 <= seen < 0.72 else -1.0
    if mask is not None and whole < 1:
        chest = -1.0
    # A quarter lies on its side or stands on its head: then only the second answer counts.
    if rng.random() < 0.15:
        turns = int(rng.integers(1, 4))
        grey = np.ascontiguousarray(np.rot90(grey, turns))
        asked, some, chest = asked * 0, some * 0, 0.0
    film128 = toned(np.asarray(grey, np.uint8), rng)
    maps = (a.astype(np.float32) for a in (drawn, asked, some))
    return Example(film128, *maps, chest, float(snapped))


def wrong(picture: Film, rng: np.random.Generator, drawn: bool) -> Example:
    """Make an example of a picture that is no chest; `drawn` if it has no lung anywhere."""
    square = np.asarray(cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA), np.uint8)
    grey = cv2.warpAffine(
        square, placed(rng, rng.random() < 0.5), (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE
    )
    film = toned(np.asarray(grey, np.uint8), rng)
    none = np.zeros((SIDE, SIDE), np.float32)
    return Example(film, none, none + float(drawn), none, 0.0, -1.0)


def cut(film: Film, rng: np.random.Generator) -> Film:
    """Cut a half or a quarter out of a film."""
    height, width = film.shape
    tall, broad = [(0.5, 1.0), (1.0, 0.5), (0.5, 0.5), (0.6, 0.6)][int(rng.integers(4))]
    h, w = int(tall * height), int(broad * width)
    y, x = int(rng.choice([0, height - h])), int(rng.choice([0, width - w]))
    return film[y : y + h, x : x + w]


class Pool:
    """Everything that one row learns from."""

    def __init__(self, films: list[Drawn], row: str) -> None:
        chosen = {
            "free": [f for f in films if f.free and not f.held],
            "all": [f for f in films if not f.held],
            "no-shenzhen": [f for f in films if f.source != "shenzhen"],
            "no-jsrt": [f for f in films if f.source != "jsrt"],
        }[row]
        self.fields = [f for f in chosen if not f.with_heart]
        self.hearts = [f for f in chosen if f.with_heart]
        self.children = undrawn_films("kermany", 700, seed=3)
        self.photographs = list(to_calibrate().values())
        self.phantoms = []
        for seed in range(240):
            lacking = ("", "", "left", "right", "left right")[seed % 5]
            film, lungs, _ = phantom(1000 + seed, lacking)
            self.phantoms.append((film, lungs))

    def batch(self, rng: np.random.Generator) -> list[Example]:
        """Draw one batch."""
        given = []
        for place in range(BATCH):
            if place < 15:
                film = self._pick(self.fields if place < 10 else self.hearts, rng)
                pixels, mask = film.film, film.mask
                given.append(one(pixels, mask, film.with_heart, rng, mild=rng.random() < 0.3))
            elif place < 17:
                pixels, mask = self._pick(self.phantoms, rng)
                given.append(one(pixels, mask, False, rng, mild=False))
            elif place < 19:
                given.append(one(self._pick(self.children, rng), None, False, rng, mild=True))
            elif place < 21:
                kind = self._pick(list(gate_drawings.DRAWINGS), rng)
                given.append(wrong(gate_drawings.DRAWINGS[kind](rng), rng, drawn=True))
            elif place < 22:
                photograph = self._pick(self.photographs, rng)
                given.append(wrong(views(photograph, 2, rng)[1], rng, drawn=True))
            else:
                base = self._pick(
                    [*self.children, *(f.film for f in (*self.fields, *self.hearts))], rng
                )
                maker = (gate_drawings.merged, gate_drawings.shuffled, lambda f, r: cut(f, r))[
                    int(rng.choice([0, 0, 1, 2]))
                ]
                given.append(wrong(maker(base, rng), rng, drawn=False))
        return given

    @staticmethod
    def _pick(things: list, rng: np.random.Generator):  # type: ignore[no-untyped-def, type-arg]
        return things[int(rng.integers(len(things)))]


def loss_of(drawn: Tensor, chest: Tensor, examples: list[Example]) -> Tensor:
    """Weigh lung fields, lung somewhere, and the chest."""
    lungs, asked, some = (
        torch.from_numpy(np.stack([getattr(e, name) for e in examples]))
        for name in ("lungs", "asked", "some")
    )
    truth = torch.tensor([[e.chest, e.photographed] for e in examples])
    each = functional.binary_cross_entropy_with_logits(drawn, lungs, reduction="none")
    counted = asked.sum((1, 2))
    cross = ((each * asked).sum((1, 2)) / counted.clamp(min=1)).sum() / (counted > 0).sum().clamp(
        min=1
    )
    p = drawn.sigmoid()
    inner, sizes = (p * lungs * asked).sum((1, 2)), ((p + lungs) * asked).sum((1, 2))
    has = (lungs * asked).sum((1, 2)) > 0
    dice = (1 - (2 * inner + 1) / (sizes + 1))[has].mean() if has.any() else drawn.sum() * 0
    # At least 0.6 of what holds lung and heart is lung.
    area = some.sum((1, 2))
    share = (p * some).sum((1, 2)) / area.clamp(min=1)
    lack = (functional.relu(0.62 - share) * (area > 100)).mean()
    answered = truth >= 0
    judged = functional.binary_cross_entropy_with_logits(
        chest[answered], truth[answered] * 0.98 + 0.01
    )
    return cross + dice + lack + 0.3 * judged


def train(row: str, films: list[Drawn], work: Path, steps: int) -> None:
    """Train one row and write its ONNX file."""
    # The schedule's end and each step's draws depend on the step alone, so that a run can go on.
    torch.manual_seed(5)
    network = LungNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    slow = LungNetwork()
    slow.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 4e-3, total_steps=steps, pct_start=0.15
    )
    begun, spent = 0, 0.0
    checkpoint = work / f"{row}.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["steps"] == steps:
            for thing, name in (
                (network, "network"),
                (slow, "slow"),
                (optimiser, "optimiser"),
                (schedule, "schedule"),
            ):
                thing.load_state_dict(state[name])
            begun, spent = state["step"], state["spent"]
    pool = Pool(films, row)
    started = time.process_time()
    network.train()
    total = 0.0
    for step in range(begun, steps):
        rng = np.random.default_rng([17, step])
        examples = pool.batch(rng)
        given = torch.from_numpy(np.stack([e.film for e in examples])[:, None]).contiguous(
            memory_format=torch.channels_last
        )
        with torch.autocast("cpu", torch.bfloat16):
            drawn, chest = network(given)
        loss = loss_of(drawn.float(), chest.float(), examples)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            kept = min(KEPT, (step + 1) / (step + 10))
            for mean, new in zip(
                slow.state_dict().values(), network.state_dict().values(), strict=True
            ):
                if mean.is_floating_point():
                    mean.lerp_(new, 1 - kept)
        total += loss.item()
        if (step + 1) % 100 == 0:
            seconds = spent + time.process_time() - started
            print(f"{row} {step + 1} loss {total / 100:.4f} {seconds:.0f} s", flush=True)
            total = 0.0
        if (step + 1) % 400 == 0:
            state = {
                "steps": steps,
                "step": step + 1,
                "spent": spent + time.process_time() - started,
            }
            for thing, name in (
                (network, "network"),
                (slow, "slow"),
                (optimiser, "optimiser"),
                (schedule, "schedule"),
            ):
                state[name] = thing.state_dict()
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
    write(slow.eval(), work / f"{row}.onnx")


def write(network: LungNetwork, path: Path) -> None:
    """Write the network as one ONNX file of a fixed picture size."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.rand(2, 1, SIDE, SIDE) * 255,),
            path.with_suffix(".part"),
            input_names=["film"],
            output_names=["lungs", "chest"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
            opset_version=18,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    forget_origin(path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="+", choices=ROWS, metavar="ROW")
    parser.add_argument("--work", type=Path, default=Path("lungs-work"))
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--threads", type=int, default=1)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    cv2.setNumThreads(1)
    told.work.mkdir(parents=True, exist_ok=True)
    films = drawn_films()
    for row in told.rows:
        if not (told.work / f"{row}.onnx").exists():
            train(row, films, told.work, told.steps)


if __name__ == "__main__":
    main()
