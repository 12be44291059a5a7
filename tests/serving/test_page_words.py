"""The page's words: the same keys and places in every language, and no key that is missing or idle."""

import json
import re

import pytest

from cxrlens.explanation import METHODS
from cxrlens.quality.step import DEFECTS
from cxrlens.serving.api import page_files

FILES = {name: content.decode() for name, (content, _) in page_files().items()}
WORDS = {
    name.removeprefix("words/").removesuffix(".json"): json.loads(content)
    for name, content in FILES.items()
    if name.startswith("words/")
}
ENGLISH = WORDS["en"]

BY_NAME = {"class", "defect", "figure", "method", "reason", "repair"}
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
