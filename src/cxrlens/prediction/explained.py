"""Explain films: a picture each, film and heat map side by side, and one page with all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrlens.errors import FilmError
from cxrlens.pages.page import FilmCard, Page
from cxrlens.prediction.predictor import Prediction, Predictor
from cxrlens.writing import refuse_existing


@dataclass(frozen=True)
class Explained:
    """What `explain_films` wrote.

    Attributes
    ----------
    page
        ``explained.html``.
    pictures
        One PNG a film.
    failures
        Film and sentence of each that could not be read.
    """

    page: Path
    pictures: list[Path]
    failures: dict[str, str]


def explain_films(
    predictor: Predictor,
    films: Sequence[Path],
    folder: Path,
    method: str = "gradcam",
    target: str | None = None,
    palette: str = "ember",
    force: bool = False,
) -> Explained:
    """Predict films and show where the model looked.

    Parameters
    ----------
    predictor
        The model.
    films
        Files.
    folder
        Gets ``STEM-METHOD-CLASS.png`` for each film, and ``explained.html``.
    method, target
        See `cxrlens.prediction.predictor.Prediction.explain`.
    palette
        A key of `cxrlens.explanation.heatmap.PALETTES`.
    force
        Replace files that exist.

    Raises
    ------
    OutputError
        If a file exists and `force` is false, or the folder cannot be written.
    CxrlensError
        If the method, the class or the palette is unknown.
    """
    page_path = folder / "explained.html"
    refuse_existing(page_path, force)
    page = Page(
        "Where the model looked",
        f"{method}; the brighter the colour, the more that part raises the class's score",
    )
    page.section("Films")
    cards: list[FilmCard] = []
    pictures: list[Path] = []
    failures: dict[str, str] = {}
    for path, outcome in zip(films, predictor.predict_many(films), strict=True):
        if isinstance(outcome, FilmError):
            failures[str(path)] = str(outcome)
            continue
        heat = outcome.explain(method, target)
        name = f"{len(pictures) + 1:03d}-{path.stem}-{method}-{heat.target}.png"
        pictures.append(heat.save(folder / name, palette, force))
        cards.append(
            FilmCard(
                heat.beside(palette),
                path.name,
                f"{path.name}: the film and, beside it, its {method} map for {heat.target}",
                _words(outcome, heat.target),
                outcome.probabilities,
            )
        )
    page.films(cards)
    for sentence in failures.values():
        page.warning(sentence)
    return Explained(page.write(page_path, force), pictures, failures)


def _words(prediction: Prediction, target: str) -> list[str]:
    found = [name for name, present in prediction.findings.items() if present]
    words = [f"Predicted {prediction.predicted}; the map is for {target}"]
    return [*words, f"Quality: {', '.join(found)}"] if found else words
