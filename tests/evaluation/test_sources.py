import pandas as pd
import pytest

from cxrlens.evaluation.card import guessed_by_source, origins, source_warning

from .drawn_predictions import CLASSES


def table(**counts):
    """Films by source and class: ``here=(3, 0, 0)`` are three normal films from here."""
    rows = [
        {"source": source, "label": label}
        for source, of_class in counts.items()
        for label, films in zip(CLASSES, of_class, strict=True)
        for _ in range(films)
    ]
    return pd.DataFrame(rows)


def test_origins_name_the_largest_source_of_each_class():
    found = origins(table(a=(30, 9, 0), b=(10, 1, 0), c=(0, 0, 5)), CLASSES)
    assert [(o.label, o.films, o.largest, o.share, o.sources, o.alone) for o in found] == [
        ("normal", 40, "a", 0.75, 2, False),
        ("pneumonia", 10, "a", 0.9, 2, False),
        ("tuberculosis", 5, "c", 1.0, 1, True),
    ]


def test_the_guess_by_source_names_the_commonest_class_of_each():
    films = table(a=(30, 10, 0), b=(0, 5, 15))
    assert guessed_by_source(films) == pytest.approx((45 / 60, 30 / 60))


def test_a_class_from_one_place_is_warned_of_in_words():
    text = source_warning(table(a=(30, 9, 0), b=(10, 1, 0), c=(0, 0, 5)), CLASSES)
    assert text.startswith("The source gives the label away.")
    assert "90\u00a0% of the 10 pneumonia films come from a." in text
    assert "All 5 tuberculosis films come from c, which has films of no other class." in text
    assert "normal films come" not in text


def test_sources_that_tell_much_together_are_warned_of():
    # No class is four fifths from one place, and yet a place tells most.
    films = table(a=(7, 1, 1), b=(1, 7, 1), c=(1, 1, 7))
    assert "for 78\u00a0% of the films (33\u00a0% by always" in source_warning(films, CLASSES)


def test_sources_with_like_shares_give_no_warning():
    assert source_warning(table(a=(30, 30, 30), b=(20, 20, 20)), CLASSES) is None


def test_one_source_or_none_gives_no_warning():
    assert source_warning(table(a=(30, 1, 1)), CLASSES) is None
    assert source_warning(table(a=(3, 1, 1)).drop(columns="source"), CLASSES) is None
    assert source_warning(table(a=(3, 1, 1)).assign(source=pd.NA), CLASSES) is None
    assert origins(table(a=(3, 1, 1)).drop(columns="source"), CLASSES) == []
