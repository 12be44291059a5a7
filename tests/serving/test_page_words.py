"""The page's words: the same keys and places in every language, and no key that is missing or idle."""

import json
import re

import pandas as pd
import pytest

from cxrlens.collections.tables import LABELS
from cxrlens.evaluation.card import NOT_CALIBRATED, ModelCard, describe, source_warning
from cxrlens.explanation import METHODS
from cxrlens.quality.step import DEFECTS
from cxrlens.reports.trust import INTENDED, OUT_OF_SCOPE
from cxrlens.serving.answers import card_in
from cxrlens.serving.api import page_files

FILES = {name: content.decode() for name, (content, _) in page_files().items()}
WORDS = {
    name.removeprefix("words/").removesuffix(".json"): json.loads(content)
    for name, content in FILES.items()
    if name.startswith("words/")
}
ENGLISH = WORDS["en"]

BY_NAME = {"class", "defect", "figure", "method", "reason", "repair", "split", "told"}
"""Keys that begin so are made of a name that the server gives."""


def test_languages_are_those_of_the_switch() -> None:
    (named,) = re.findall(r"LANGUAGES = \{(.*?)\}", FILES["words.js"])
    assert re.findall(r"(\w+):", named) == sorted(WORDS)
    assert len(WORDS) >= 2


@pytest.mark.parametrize("language", WORDS)
def test_no_language_lacks_a_word(language: str) -> None:
    words = WORDS[language]
    assert set(words) == set(ENGLISH)
    assert [key for key, said in words.items() if not said.strip()] == []
    places = re.compile(r"\{\w+\}")
    assert [
        key for key in words if {*places.findall(words[key])} != {*places.findall(ENGLISH[key])}
    ] == []


def test_every_word_that_the_page_says_is_there_and_none_is_idle() -> None:
    code = "\n".join(text for name, text in FILES.items() if not name.startswith("words/"))
    marked = re.findall(r'data-say(?:-title|-label)?="([^"]+)"', FILES["index.html"])
    spoken = re.findall(r'say\(\s*"([^"]+)"', code)
    assert {*marked, *spoken} - set(ENGLISH) == set()
    idle = [
        key for key in ENGLISH if f'"{key}"' not in code and key.partition(".")[0] not in BY_NAME
    ]
    assert idle == []


def test_every_defect_has_a_name() -> None:
    assert [name for name in DEFECTS if f"defect.{name}" not in ENGLISH] == []
    known = {key.removeprefix("method.") for key in ENGLISH if key.startswith("method.")}
    assert known <= set(METHODS)


def card_of(films: pd.DataFrame) -> ModelCard:
    """Of a model of films, as far as words go."""
    named = dict.fromkeys(("name", "recipe", "backbone", "weights", "digest", "cxrlens"), "x")
    warning = source_warning(films, LABELS)
    return ModelCard(
        **named,
        side=64,
        quality="none",
        classes=list(LABELS),
        population=describe(films, LABELS),
        warnings=[*([warning] if warning else []), NOT_CALIBRATED],
    )


def populations() -> list[pd.DataFrame]:
    """Films of which a card says every sentence that there is."""
    grown, young = [60.0 + i for i in range(12)], [1.0 + i / 4 for i in range(12)]
    films = pd.DataFrame(
        {
            "label": ["normal"] * 12 + ["pneumonia"] * 12,
            "patient": [f"P{i // 2}" for i in range(24)],
            "source": ["clinic"] * 12 + ["kermany"] * 12,
            "age": grown + young,
        }
    )
    mixed = ["clinic"] * 11 + ["phantom-a"] * 11 + ["kermany"] * 2
    mostly = ["clinic"] * 14 + ["kermany"] * 9 + ["place"]
    many = pd.concat([films] * 900, ignore_index=True)
    return [
        films,
        films[["label"]],
        films[["label", "source"]],
        films[["label", "patient"]],
        films.assign(source="phantom-a"),
        films.assign(source=mixed),
        films.assign(source=mostly),
        many.assign(patient=range(len(many))),
    ]


def sentences(card: ModelCard) -> list[str]:
    texts = [card.population, *card.warnings, card.notice]
    return [one for text in texts for one in re.split(r"(?<=\.) ", text)]


@pytest.mark.parametrize("language", sorted(WORDS.keys() - {"en"}))
def test_what_the_house_says_on_a_card_is_said_in_every_language(language: str) -> None:
    cards = [card_of(films) for films in populations()]
    for card in cards:
        said = card_in(card, language)
        assert {*sentences(card)} & {*sentences(said)} == set()
        assert len(sentences(card)) == len(sentences(said))
        assert "{" not in "".join(sentences(said))
    told = {one for card in cards for one in sentences(card)}
    kinds = [text for key, text in ENGLISH.items() if key.startswith("told.") and text[-1] == "."]
    likes = [re.sub(r"\\\{\w+\\\}", ".+", re.escape(text)) for text in kinds]
    assert [like for like in likes if not any(re.fullmatch(like, one) for one in told)] == []


def test_a_card_in_spanish() -> None:
    card = card_of(populations()[-1])
    said = card_in(card, "es")
    assert said.population.startswith(
        "21.600 radiografías de 21.600 pacientes, de clinic y kermany. La edad se conoce en el "
        "100\u00a0%: de 1 a 71 años, mediana 32. Los pacientes con radiografías de la clase neumonía"
    )
    assert "conoce normal, neumonía y tuberculosis y nada más" in said.population
    own = card.model_copy(update={"warnings": ["Dr. Who warns of 1.5 things. Ages are not known."]})
    assert card_in(own, "es").warnings == ["Dr. Who warns of 1.5 things. No se conocen las edades."]
    for other in ("en", "xx", "../es", "", "ES"):
        assert card_in(card, other) == card


def test_a_card_s_uses_are_those_of_the_whole_card() -> None:
    assert (ENGLISH["card.intended"], ENGLISH["card.scope"]) == (INTENDED, OUT_OF_SCOPE)
