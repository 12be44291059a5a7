import numpy as np
import pandas as pd
import pytest

from cxrlens.collections.collection import Collection
from cxrlens.collections.combine import fold, split
from cxrlens.errors import CollectionError


def films(count: int = 1000, seed: int = 0) -> Collection:
    rng = np.random.default_rng(seed)
    label = rng.choice(["normal", "pneumonia", "tuberculosis"], count, p=[0.6, 0.28, 0.12])
    table = pd.DataFrame({"image": [f"{i}.png" for i in range(count)], "label": label})
    table["source"] = rng.choice(["a", "b"], count)
    # Patients have one to eight films, all of one class and source, as in the Kermany set.
    table = table.sort_values(["label", "source"], ignore_index=True)
    stratum = table["label"] + table["source"]
    table["patient"] = stratum + (rng.geometric(0.4, count).clip(max=8) > 1).cumsum().astype(str)
    return Collection(table.astype({"label": "string", "source": "string", "patient": "string"}))


def test_no_patient_stands_in_two_splits() -> None:
    done = split(films())
    assert done.films.groupby("patient")["split"].nunique().max() == 1


def test_a_patient_whose_name_is_written_in_two_ways_is_kept_together() -> None:
    table = films().films
    table["patient"] = table.groupby("patient").ngroup().astype("string") + "x"
    apart = table.copy()
    apart.loc[::2, "patient"] = apart.loc[::2, "patient"].str.upper()
    done = fold(split(Collection(apart)), 3).films
    assert done["patient"].tolist() == apart["patient"].tolist()
    places = done.groupby(table["patient"])[["split", "fold"]].nunique()
    assert places.max().max() == 1


def test_shares_hold_overall_and_within_each_class_and_source() -> None:
    done = split(films()).films
    wanted = pd.Series({"train": 0.64, "validation": 0.16, "test": 0.20})
    assert (done["split"].value_counts(normalize=True) - wanted).abs().max() < 0.01
    for _, part in done.groupby(["label", "source"]):
        off = (part["split"].value_counts(normalize=True) - wanted).abs().max()
        assert off < 0.02 + 4 / len(part)


@pytest.mark.parametrize("each", [1, 2, 3, 4, 5, 7, 12])
def test_shares_hold_over_many_small_sources(each: int) -> None:
    labels = ["normal", "pneumonia", "tuberculosis"]
    rows = [(s, label, k) for s in range(40) for label in labels for k in range(each)]
    table = pd.DataFrame(rows, columns=["source", "label", "k"]).astype("string")
    table["image"] = table["patient"] = table["source"] + table["label"] + "-" + table["k"]
    done = fold(split(Collection(table)), 4).films
    wanted = pd.Series({"train": 0.64, "validation": 0.16, "test": 0.20})
    for _, part in [("all", done), *done.groupby("label")]:
        assert (part["split"].value_counts(normalize=True) - wanted).abs().max() < 0.02 + 1 / len(
            part
        )
        assert (part["fold"].value_counts(normalize=True) - 0.25).abs().max() < 0.02 + 1 / len(part)


@pytest.mark.parametrize("each", [3, 4, 5, 6])
def test_every_part_gets_a_patient_of_every_class(each: int) -> None:
    labels = np.repeat(["normal", "pneumonia", "tuberculosis"], each)
    table = pd.DataFrame({"image": [f"{i}.png" for i in range(3 * each)], "label": labels})
    for films in (table, table.assign(source=table["image"])):
        done = split(Collection(films.astype("string"))).films
        assert (done.groupby("label")["split"].nunique() == 3).all()


def test_the_same_seed_gives_the_same_split_in_any_order() -> None:
    collection = films()
    shuffled = Collection(collection.films.sample(frac=1, random_state=5))
    one = split(collection, 7).films.set_index("image")["split"]
    two = split(shuffled, 7).films.set_index("image")["split"]
    assert one.equals(two.reindex(one.index))
    assert not one.equals(split(collection, 8).films.set_index("image")["split"])
    assert split(collection).films.equals(split(collection, 0).films)


def test_a_patient_with_two_classes_is_kept_together() -> None:
    table = films().films
    table.loc[table["label"] == "pneumonia", "patient"] = table.loc[
        table["label"] == "normal", "patient"
    ].to_numpy()[: (table["label"] == "pneumonia").sum()]
    done = split(Collection(table)).films
    assert done.groupby("patient")["split"].nunique().max() == 1


def test_without_patients_every_film_counts_as_one() -> None:
    done = split(Collection(films().films.drop(columns="patient")))
    assert set(done.films["split"]) == {"train", "validation", "test"}


def test_folds_leave_the_test_split_alone() -> None:
    done = fold(split(films()), 5).films
    assert done.loc[done["split"] == "test", "fold"].isna().all()
    rest = done[done["split"] != "test"]
    assert rest.groupby("patient")["fold"].nunique().max() == 1
    assert (rest["fold"].value_counts(normalize=True) - 0.2).abs().max() < 0.01


def of_patients(sizes: list[int], sources: list[str]) -> Collection:
    patients = [f"P{n}" for n, size in enumerate(sizes) for _ in range(size)]
    source = [name for name, size in zip(sources, sizes, strict=True) for _ in range(size)]
    table = pd.DataFrame({"patient": patients, "source": source, "label": "normal"})
    return Collection(table.assign(image=[f"{i}.png" for i in table.index]).astype("string"))


def test_large_patients_are_dealt_first_and_small_ones_fill_up() -> None:
    done = fold(of_patients([10] * 4 + [1] * 20, ["a"] * 24)).films
    assert done["fold"].value_counts().tolist() == [12] * 5


def test_sources_of_one_patient_each_are_dealt_evenly() -> None:
    done = fold(of_patients([1] * 25, [f"s{n}" for n in range(25)])).films
    assert done["fold"].value_counts().tolist() == [5] * 5


def test_fewer_patients_than_folds_are_refused() -> None:
    table = films().films
    sick = table["label"] == "tuberculosis"
    kept = table.loc[sick, "patient"].unique()[:4]
    with pytest.raises(CollectionError, match="tuberculosis has 4 patients, fewer than the 5"):
        fold(Collection(table[~sick | table["patient"].isin(kept)]), 5)
    five = table[table["label"] == "normal"].drop_duplicates("patient")[:5]
    with pytest.raises(CollectionError, match="tuberculosis has 4 patients, fewer than the 5"):
        fold(Collection(pd.concat([five, table[sick & table["patient"].isin(kept)]])), 5)
    few = Collection(table[~sick | table["patient"].isin(table.loc[sick, "patient"].unique()[:5])])
    just = fold(few).films
    assert just.equals(fold(few, 5, 0).films)
    assert just.groupby("label")["fold"].nunique().eq(5).all()
