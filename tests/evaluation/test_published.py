import numpy as np

from cxrlens.evaluation.comparison import TEST_FILMS, published


def test_table_1_is_the_macro_average_of_table_2():
    """The transcription holds together: each mean agrees to the last digit that was printed."""
    means = published("per_class").groupby("system")[["precision", "recall", "f1"]].mean()
    overall = published("overall").set_index("system").loc[means.index]
    np.testing.assert_allclose(overall[["precision", "recall", "f1"]], means, atol=1.01e-4)


def test_f1_is_the_harmonic_mean():
    table = published("per_class")
    harmonic = 2 * table["precision"] * table["recall"] / (table["precision"] + table["recall"])
    np.testing.assert_allclose(table["f1"], harmonic, atol=1.01e-4)


def test_recalls_are_shares_of_the_test_films():
    for label, films in TEST_FILMS.items():
        table = published("per_class")
        recalls = table.loc[table["class"] == label, "recall"]
        near = [
            min(
                abs(r - round(r * n) / n)
                for n in (films, films + 1 if label == "pneumonia" else films)
            )
            for r in recalls
        ]
        assert max(near) < 6e-5, label


def test_every_system_has_its_classes_and_those_trained_are_systems():
    systems = list(published("overall")["system"])
    assert len(systems) == 9
    assert set(published("per_class")["system"]) == set(systems)
    assert (published("per_class").groupby("system")["class"].nunique() == 3).all()
    assert set(published("training")["system"]) <= set(systems)


def test_the_second_group_is_there():
    table = published("second_group").set_index("system")
    assert table.loc["HOG + SVM", "accuracy"] == 0.9227
    assert table.loc["EfficientNet-B3", "tuberculosis_f1"] == 0.929
