"""Chains: the steps in their order, from a film as decoded to a square, repaired one."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from cxrlens.errors import OutputError, RecipeError, blamed_on
from cxrlens.files import moved_into_place, refuse_existing, short_stem
from cxrlens.lungs import find_lungs
from cxrlens.lungs.fields import network_digest
from cxrlens.progress import Progress
from cxrlens.quality.borders import EvenBorders, PrintedLines, SharpIslands, without
from cxrlens.quality.detail import BandRegression, GrainRegression, QuietResponse, ResponseVariance
from cxrlens.quality.exposure import (
    INVERT,
    CornerNegative,
    DarkMean,
    DarkTone,
    FlatWhite,
    OddRegression,
    invert,
)
from cxrlens.quality.gate import Bounds, ChestGate, LossSeam, SeenByCamera
from cxrlens.quality.step import (
    DEFECTS,
    Examination,
    Finding,
    LungStep,
    Regression,
    Step,
    settings,
    thresholds,
)
from cxrlens.radiographs.grey import Film, resize
from cxrlens.radiographs.read import ReadFilm, look_at_films, read_film

_STEPS: dict[str, tuple[tuple[type[Any], ...], ...]] = {
    "none": ((), (), ()),
    "report": ((), (CornerNegative, DarkMean, ResponseVariance, QuietResponse), ()),
    "robust": (
        (LossSeam, PrintedLines, GrainRegression, EvenBorders),
        (OddRegression, FlatWhite, SharpIslands, DarkTone, BandRegression),
        (SeenByCamera, ChestGate),
    ),
}
"""Of each chain the steps before the resize, after it, and with the lungs."""

CHAINS = tuple(_STEPS)
"""Names of the chains: nothing but the resize; that of the 2023 study (section 3); ours."""

ONLOOKER = "robust"
"""The chain whose detectors look at a film where a chain has none of its own; it repairs nothing then."""

LUNGS = ("none", "crop", "mask")
"""Ways of a chain with the lungs: nothing, cut out their box, fill what lies outside of them."""

LOOKING_SIDE = 224
"""Thresholds hold for films of this side, whatever the side that a chain gives."""

_REVISION = 1
"""Raised when the code of a step changes what it gives; caches are keyed by the version."""

_ONLY_NOTED = frozenset({"torn", "saturated", "burnt_in_text"})
"""Defects whose steps change no pixel and came after chains had versions."""


def _made(step: type[Any], chain: str) -> Any:
    """Make a step with its settings in ``thresholds``, JSON's lists and regressions made immutable."""
    fields = settings(chain)[step.defect]
    return step(**{name: _setting(name, value) for name, value in fields.items()})


def _setting(name: str, value: Any) -> Any:
    if name == "regression":
        return Regression(**{field: _setting("", inner) for field, inner in value.items()})
    if name == "bounds":
        return tuple(Bounds(**bounds) for bounds in value)
    return tuple(_setting("", item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Chain:
    """Steps that look at one film after another and, where they find a defect, repair it.

    A chain is made with `Chain.named`, is immutable, and can be sent to other processes.

    Attributes
    ----------
    name
        A name of `CHAINS`.
    side
        Side in pixels of the films that it gives.
    native
        Steps on the film as decoded, in their order; they come first.
    square
        Steps on the resized film, in their order.
    gate
        Steps that look at the repaired film and its lungs; they come last and only find.
    lungs
        One of `LUNGS`.
    """

    name: str
    side: int
    native: tuple[Step, ...]
    square: tuple[Step, ...]
    gate: tuple[LungStep, ...] = ()
    lungs: str = "none"

    @classmethod
    def named(
        cls,
        name: str,
        side: int = 224,
        steps: Sequence[str] | None = None,
        lungs: str = "none",
    ) -> Chain:
        """Make the chain of that name.

        Parameters
        ----------
        name
            One of `CHAINS`.
        side
            Side of the films that it gives, in pixels.
        steps
            Defects whose steps are to run, e.g. ``("negative", "noisy")``; None for all that the
            chain knows. Their order is the chain's.
        lungs
            ``none``; ``crop`` to cut the lungs' box out of the film before it is resized; ``mask`` to
            fill what lies outside of the lungs at the end. A film without lungs stays whole. With either,
            the chain without steps turns the negative of a chest: that loses nothing.

        Raises
        ------
        RecipeError
            If the name, the side or a step is unknown to the chain, or `lungs` none of the three.
        """
        if name not in CHAINS:
            raise RecipeError(f"quality chain {name!r} is unknown: {_instead(name, CHAINS)}")
        if side < 1:
            raise RecipeError(f"side {side} is no film: a chain's side must be at least 1 pixel")
        if lungs not in LUNGS:
            raise RecipeError(f"lungs: {lungs!r} is unknown: {_instead(lungs, LUNGS)}")
        known = [step.defect for part in _STEPS[name] for step in part]
        for defect in steps or ():
            if defect not in known:
                raise RecipeError(
                    f"step {defect!r} is unknown to quality chain {name!r}: {_instead(defect, known)}"
                )
        kept = known if steps is None else steps
        native, square, gate = (
            tuple(_made(step, name) for step in part if step.defect in kept)
            for part in _STEPS[name]
        )
        return cls(name, side, native, square, gate, lungs)

    @property
    def steps(self) -> tuple[Step | LungStep, ...]:
        """All its steps, in the order in which they run."""
        return (*self.native, *self.square, *self.gate)

    @property
    def mends(self) -> frozenset[str]:
        """The defects that it repairs."""
        mended = {step.defect for step in (*self.native, *self.square) if step.repair_name}
        return frozenset(mended | ({"negative"} if self._turns else set()))

    @property
    def _turns(self) -> bool:
        """Whether negatives are turned for the sake of their lungs, although there are no steps."""
        return not self.steps and self.lungs != "none"

    @cached_property
    def version(self) -> str:
        """Name and a short digest that changes with any setting, step or side on which pixels depend.

        A step that is in `_ONLY_NOTED`, or of the gate, has no part in it: films come out of the chain as
        before, and a model that was trained before there was such a step goes on. Nor has it that negatives
        are turned where there are lungs, but no steps: before that they were not answered.
        """
        steps = [step for step in (*self.native, *self.square) if step.defect not in _ONLY_NOTED]
        settings = [[type(step).__name__, asdict(step)] for step in steps]  # type: ignore[call-overload]
        for gate in self.gate:
            # The gate was a template once, and had a part: models that were trained then go on.
            if isinstance(gate, ChestGate):
                of_then = {"mean": gate.mean, "components": gate.components}
                settings.append(
                    ["ChestTemplate", of_then | thresholds(self.name)["former"][gate.defect]]
                )
        told: list[object] = [_REVISION, LOOKING_SIDE, self.side, settings]
        if self.lungs != "none":
            told += [self.lungs, network_digest()]
        return f"{self.name}-{_settings_digest(told)}"

    @cached_property
    def findings_version(self) -> str:
        """The version, and that of the onlooker where its detectors look: what findings depend on."""
        if not self.steps:
            turned = "+turned" if self._turns else ""
            return f"{self.version}+{_onlooker().findings_version}{turned}"
        only_noted = [step for step in (*self.native, *self.square) if step.defect in _ONLY_NOTED]
        noted = [asdict(step) for step in only_noted]  # type: ignore[call-overload]
        if self.gate:
            noted += [network_digest(), *map(asdict, self.gate)]  # type: ignore[arg-type]
        return f"{self.version}+{_settings_digest(noted)}" if noted else self.version

    def examine(self, film: Film) -> Examination:
        """Find and repair the defects of one film.

        Parameters
        ----------
        film
            (H, W) uint8 as decoded, of any size. It is not changed.

        Returns
        -------
        Examination
            With (side, side) uint8 pixels; without any repair they are `resize(film, side)`, or what
            `lungs` asks for. The findings of a chain without steps are those of `ONLOOKER`.

        Examples
        --------
        >>> dark = np.full((300, 200), 40, np.uint8)
        >>> examination = Chain.named("report", steps=("underexposed",)).examine(dark)
        >>> examination.findings["underexposed"].present, examination.repairs
        (True, ('equalise',))
        """
        return self._examined(film)[0]

    def _examined(self, film: Film) -> tuple[Examination, Film]:
        """Return the examination, and the film only resized."""
        decoded = film
        seen = None if self.steps else _onlooker().check(decoded)
        findings: dict[str, Finding] = dict(seen.findings) if seen else {}
        repairs: list[str] = []
        if self._turns and findings["negative"].present and not findings["not_a_chest"].present:
            film = invert(film)
            repairs.append(INVERT)
        unfinished: list[Step] = []
        cropped = (0, 0, 0, 0)
        for native in self.native:
            findings[native.defect] = native.detect(film)
            if findings[native.defect].present:
                if isinstance(native, EvenBorders):
                    cropped = native.borders(film)
                film = native.repair(film)
                if native.repair_name:
                    repairs.append(native.repair_name)
                unfinished.append(native)
        pixels = resize(film, self.side)
        plain = pixels if film is decoded else resize(decoded, self.side)
        # Detectors look at one fixed side, since their thresholds hold there; a chain of another
        # side, or of the lungs' box, repairs its own copy alike.
        asked = bool(self.gate) or self.lungs != "none"
        apart = self.side != LOOKING_SIDE and (bool(self.square) or asked)
        looked = resize(film, LOOKING_SIDE) if apart else pixels
        lungs = None
        if asked:
            lungs = replace(find_lungs(looked), proportion=film.shape[1] / film.shape[0])
        left_out = cropped
        if lungs and self.lungs == "crop":
            around = lungs.crop(film.shape)
            pixels = resize(without(film, around), self.side)
            top, bottom, left, right = (a + b for a, b in zip(cropped, around, strict=True))
            left_out = (top, bottom, left, right)
            apart = True
        for native in unfinished:
            looked = native.finish(looked)
            pixels = native.finish(pixels) if apart else looked
        for step in self.square:
            findings[step.defect] = step.detect(looked)
            if findings[step.defect].present and step.repair_name:
                looked = step.repair(looked)
                pixels = step.repair(pixels) if apart else looked
                repairs.append(step.repair_name)
        if lungs:
            for gate in self.gate:
                findings[gate.defect] = gate.detect(looked, lungs)
            if self.lungs == "mask":
                pixels = lungs.alone(pixels)
            lungs = lungs.within(decoded.shape, cropped)
        if seen:
            lungs = lungs or seen.lungs
        ordered = {defect: findings[defect] for defect in DEFECTS if defect in findings}
        return Examination(pixels, ordered, tuple(repairs), left_out, lungs), plain

    def check(self, film: Film) -> Examination:
        """Find the defects of one film and leave its pixels unrepaired.

        The findings are those of `examine`, whose later detectors look at what the earlier repairs
        left; the pixels are ``resize(film, side)`` and ``repairs`` is empty.
        """
        examination, plain = self._examined(film)
        return Examination(plain, examination.findings, lungs=examination.lungs)


def _settings_digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


@cache
def _onlooker() -> Chain:
    return Chain.named(ONLOOKER)


def _instead(wrong: str, known: Sequence[str]) -> str:
    """Word the way out of a wrong name."""
    near = difflib.get_close_matches(wrong, known, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"{guess}It is one of {', '.join(known) or 'none'}"


def check_films(
    films: Sequence[Path], chain: Chain, progress: Progress | None = None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Find what is wrong with films; no pixel is changed.

    Parameters
    ----------
    films
        Files.
    chain
        Its detectors look.
    progress
        Called with films done and films in all.

    Returns
    -------
    findings : DataFrame
        ``image`` and the findings columns, a row a film that could be read. Without a row, the columns alone.
    failures : dict
        Film and sentence of each that could not.
    """
    failures: dict[str, str] = {}
    examined = look_at_films(films, lambda path: _of_file(path, chain.check), failures, progress)
    rows = [{"image": str(path), **examination.row()} for path, examination in examined]
    return pd.DataFrame(rows, columns=["image", *_columns(chain)]), failures


def examined(film: ReadFilm, name: str, look: Callable[[Film], Examination]) -> Examination:
    """Have a chain look at a film that was read, its colours included.

    Parameters
    ----------
    film
        The film.
    name
        What messages call it.
    look
        `Chain.examine` or `Chain.check`.

    Raises
    ------
    FilmError
        If a step fails on it; see `cxrlens.errors.blamed_on`.
    """
    with blamed_on(name):
        return look(film.pixels).tinted(film.tint)


def _of_file(path: Path, look: Callable[[Film], Examination]) -> Examination:
    return examined(read_film(path), str(path), look)


def repair_films(
    films: Sequence[Path],
    chain: Chain,
    folder: Path,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Write a repaired square copy of each film as PNG into a folder.

    Names are kept; where two films share one, the later gets a number.

    Returns
    -------
    findings : DataFrame
        ``image``, ``repaired`` (the copy) and the findings columns.
    failures : dict
        Film and sentence of each that could not be read.

    Raises
    ------
    OutputError
        If a copy exists and `force` is false, if it would take the place of one of the films, or if the
        folder cannot be written.

    Examples
    --------
    >>> films = [Path("images/P00001_1.png"), Path("images/P00002_1.jpg")]
    >>> findings, failures = repair_films(films, Chain.named("report"), Path("repaired"))
    >>> findings["repaired"].tolist(), failures
    (['repaired/P00001_1.png', 'repaired/P00002_1.png'], {})
    """
    copies = {film: folder / name for film, name in zip(films, _names(films), strict=True)}
    originals = {film.resolve() for film in films}
    for copy in copies.values():
        if copy.resolve() in originals:
            raise OutputError(
                f"{copy} is one of the films themselves: choose another folder for the copies"
            )
        refuse_existing(copy, force)
    rows, failures = [], dict[str, str]()
    examined = look_at_films(films, lambda path: _of_file(path, chain.examine), failures, progress)
    for path, examination in examined:
        with moved_into_place(copies[path]) as draft:
            _, data = cv2.imencode(".png", examination.pixels)
            draft.write_bytes(data.tobytes())
        rows.append({"image": str(path), "repaired": str(copies[path]), **examination.row()})
    return pd.DataFrame(rows, columns=["image", "repaired", *_columns(chain)]), failures


def _columns(chain: Chain) -> list[str]:
    return list(chain.check(np.zeros((chain.side, chain.side), np.uint8)).row())


def _names(films: Sequence[Path]) -> list[str]:
    """Name the copies; names that differ in capitals alone are one name on many file systems."""
    names: dict[str, str] = {}
    for path in films:
        stem, number = short_stem(path), 1
        name = f"{stem}.png"
        while name.lower() in names:
            number += 1
            name = f"{stem}-{number}.png"
        names[name.lower()] = name
    return list(names.values())
