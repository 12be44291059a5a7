"""Three ratios: cache build against plain decoding, input against network, bfloat16 against float32.

    python benchmarks/speed.py [--films FOLDER]

Each ratio is measured in one run, the two sides in turn. Without a folder, 150 drawn films of 512 pixels
are used. Writes results/speed.json and docs/speed.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxrlens.collections.cache import cache_films
from cxrlens.models.classifier import build_model
from cxrlens.phantoms import write_phantoms
from cxrlens.quality.chain import CHAINS, Chain
from cxrlens.radiographs.grey import resize
from cxrlens.radiographs.read import find_films, read_radiograph
from cxrlens.recipes.recipe import Loss, read_recipe
from cxrlens.training.films import CachedBatches, batches
from cxrlens.training.losses import build_loss
from record import keep_speed, machine, markdown, stamp

REPEATS = 3
BACKBONES = {
    "tf_efficientnet_lite0": "lite0-ffn",
    "resnet": "resnet-focal",
}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spread(ratios: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
    }


def decode_and_resize(films: list[Path]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda path: resize(read_radiograph(path), 224), films))


def cache_against_decode(films: list[Path]) -> dict[str, Any]:
    """Build a cache anew with each chain, and decode and resize the same files with as many threads."""
    images = [str(path) for path in films]
    found: dict[str, Any] = {}
    for name in CHAINS:
        ratios = []
        for _ in range(REPEATS):
            with tempfile.TemporaryDirectory() as folder:
                chain = Chain.named(name)
                build = seconds(lambda f=folder, c=chain: cache_films(images, c, Path(f)))  # type: ignore[misc]
            ratios.append(build / seconds(lambda: decode_and_resize(films)))
        found[name] = spread(ratios)
    return found


def input_against_network(recipe_name: str, side: int, films: int = 240) -> dict[str, float]:
    """Time an epoch's batches out of a memory map alone, and the same with training steps."""
    recipe = read_recipe(recipe_name)
    part = recipe.network
    model = build_model(part.model_copy(update={"weights": "none"}), 3).train()
    loss = build_loss(Loss(), [1, 1, 1])
    optimiser = torch.optim.Adam(model.parameters())
    with tempfile.NamedTemporaryFile() as file:
        pixels = np.memmap(file.name, np.uint8, "w+", shape=(films, side, side))
        pixels[:] = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
        loader = batches(
            CachedBatches(pixels, np.arange(films), np.arange(films) % 3),
            recipe.training.batch,
            seed=0,
        )

        def steps() -> None:
            for x, y, *_ in loader:
                optimiser.zero_grad()
                with torch.autocast("cpu", torch.bfloat16):
                    value = loss(model(x).scores, y)
                value.backward()
                optimiser.step()

        ratios = []
        for _ in range(3):
            reading = seconds(lambda: list(loader))
            ratios.append(reading / (seconds(steps) - reading))
    return spread(ratios)


def words(values: dict[str, float], times: str = "×") -> str:
    return f"{values['median']}{times} ({values['least']}–{values['most']})"


def page(content: dict[str, Any]) -> str:
    rows = [
        {
            "what": f"cache build, chain {name}, against decode + resize",
            "ratio": words(ratio),
            "goal": "≤ 2×",
        }
        for name, ratio in content["cache_against_decode"].items()
    ]
    for name, ratio in content["input_against_network"].items():
        row = {
            "what": f"an epoch's input against {name}'s own time",
            "ratio": words(ratio),
            "goal": "≤ 0.05×",
        }
        rows.append(row)
    return (
        "Written by `benchmarks/speed.py`: ratios, each measured in one run, median (least–most). "
        "Where the spread is wide, the machine did other work meanwhile: measure again. "
        f"{content['films']} films. {stamp(content['machine'])}.\n\n{markdown(pd.DataFrame(rows))}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--films", type=Path, help="a folder of films")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = options.films or write_phantoms(Path(folder) / "set", 150, side=512).parent
        films = find_films([place])[:1000]
        content = {
            "films": f"{len(films)} {'given' if options.films else 'drawn, 512-pixel'}",
            "cache_against_decode": cache_against_decode(films),
            "input_against_network": {
                name: input_against_network(recipe, 160) for name, recipe in BACKBONES.items()
            },
        }
    text = page({**content, "machine": machine()})
    keep_speed("speed", content, text)
    print(text)


if __name__ == "__main__":
    main()
