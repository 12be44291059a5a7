import pandas as pd

from cxrlens.evaluation.card import describe
from cxrlens.evaluation.tables import by_class, counts

from .drawn_predictions import CLASSES

FILMS = pd.DataFrame(
    {
        "label": ["normal"] * 12 + ["pneumonia"] * 12,
        "patient": [f"P{i // 2}" for i in range(24)],
        "source": ["kermany"] * 20 + [None] * 4,
        "age": [60.0 + i for i in range(12)] + [1.0 + i / 4 for i in range(12)],
        "sex": ["F", "M", None] * 8,
        "view": ["PA"] * 20 + ["AP"] * 4,
        "split": ["train"] * 12 + ["test"] * 12,
    }
)


def test_a_population_is_described_with_its_ages_and_the_model_s_limits():
    text = describe(FILMS, CLASSES)
    assert text.startswith("24 films of 12 patients, from kermany. Age is known for 100\u00a0%")
    assert (
        "Patients with pneumonia films (median 2 years) are much younger than those with normal "
        "films (median 66): age alone can tell them apart."
    ) in text
    assert "children of 1 to 5 years" in text
    assert "The model knows normal, pneumonia and tuberculosis and nothing else" in text


def test_what_is_not_known_is_not_made_up():
    text = describe(FILMS[["label"]], CLASSES)
    assert text.startswith("24 films. Ages are not known. The model knows")


def test_drawn_films_are_called_drawn():
    text = describe(FILMS.assign(source="phantom-a"), CLASSES)
    assert "All films are drawn by a program" in text
    mixed = FILMS.assign(source=["phantom-a"] * 4 + ["clinic"] * 20)
    text = describe(mixed, CLASSES)
    assert "All films are drawn" not in text
    assert "The films from phantom-a are drawn by a program." in text


def test_classes_are_counted_with_what_is_known_of_them():
    table = by_class(FILMS, CLASSES)
    assert list(table["films"]) == [12, 12, 0]
    assert list(table["patients"]) == [6, 6, 0]
    assert table["age"].iloc[0] == "66 (61–70), 100\u00a0%"
    assert table["female"].iloc[0] == "50\u00a0% of 8"
    assert list(table["views"][:2]) == ["PA 12", "PA 8, AP 4"]
    assert table.loc[2, ["age", "female", "views"]].isna().all()
    assert list(by_class(FILMS[["label"]], CLASSES)) == ["class", "films"]


def test_films_are_counted_by_split_and_source():
    by_split = counts(FILMS, "split", CLASSES)
    assert by_split.to_numpy().tolist() == [["train", 12, 0, 0, 12], ["test", 0, 12, 0, 12]]
    by_source = counts(FILMS, "source", CLASSES)
    assert by_source.to_numpy().tolist() == [
        ["kermany", 12, 8, 0, 20],
        ["not known", 0, 4, 0, 4],
    ]
