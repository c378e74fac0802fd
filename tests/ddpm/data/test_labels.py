"""Classes by folder, table or name: used, or refused, never silently left out."""

from itertools import product

import pytest

from ddpm.data.folders import Listing, Place
from ddpm.data.labels import LABELS, find_rule


def place(folder, *paths, tables=()):
    return Place(Listing(folder, sorted(paths), sorted(tables)))


def classes(rule, *places):
    return [dict(zip(each.paths(), rule.labels(each), strict=True)) for each in places]


# ---------------------------------------------------------------------------------------- by folder
@pytest.mark.parametrize("above", ["", "photos/", "one/two/"])
@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["animals/cat", "animals/dog", "things/car"], ["cat", "dog", "car"]),
        (["n01/images", "n02/images"], ["n01", "n02"]),  # names that do not tell them apart
        (["cat", "cat/young", "dog"], ["cat", "cat", "dog"]),  # unequal depth
        (["cat/a/b", "dog"], ["cat", "dog"]),
    ],
)
def test_folders_are_classes(tmp_path, above, folders, expected):
    paths = [f"{above}{folder}/{number}.png" for folder, number in product(folders, range(2))]
    rule = find_rule(place(tmp_path, *paths), "auto")
    (found,) = classes(rule, place(tmp_path, *paths))
    assert [found[f"{above}{folder}/0.png"] for folder in folders] == expected
    assert rule.how == "folder"


def test_a_picture_beside_the_class_folders_has_no_class(tmp_path):
    here = place(tmp_path, "cat/1.png", "dog/1.png", "stray.png")
    (found,) = classes(find_rule(here, "auto"), here)
    assert found == {"cat/1.png": "cat", "dog/1.png": "dog", "stray.png": None}


@pytest.mark.parametrize(("folder", "expected"), [("cat/", "cat"), ("bird/", "bird"), ("", None)])
def test_validation_follows_the_rule_of_training(tmp_path, folder, expected):
    rule = find_rule(place(tmp_path, "cat/1.png", "dog/1.png"), "auto")
    assert rule.labels(place(tmp_path, f"{folder}9.png")) == [expected]


@pytest.mark.parametrize(
    "paths", [["1.png", "2.png"], ["a/1.png", "a/2.png"], ["a/1.png", "b.png"]]
)
def test_without_two_folders_there_are_no_classes(tmp_path, paths):
    assert find_rule(place(tmp_path, *paths), "auto").labels is None
    with pytest.raises(ValueError, match="no two sub-folders"):
        find_rule(place(tmp_path, *paths), "folder")


# ------------------------------------------------------------------------------------------ by name
@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("cat_01", "cat"),
        ("cat.0", "cat"),
        ("cat-7", "cat"),
        ("cat 12", "cat"),
        ("cat (3)", "cat"),
        ("cat007", "cat"),
        ("golden_retriever_2", "golden_retriever"),
        ("n01440764_10026", "n01440764"),
        ("7_0001", "7"),
        ("cat_a8f", "cat"),
    ],
)
def test_names_before_a_number_are_classes_if_asked_for(tmp_path, stem, expected):
    others = [f"x/other_{number}.png" for number in range(4)]
    here = place(tmp_path, f"x/{stem}.jpg", f"y/{stem}.png", *others)
    (found,) = classes(find_rule(here, "filename"), here)
    assert found[f"x/{stem}.jpg"] == found[f"y/{stem}.png"] == expected


def test_one_picture_a_class_is_enough_to_validate_on(tmp_path):
    here = place(tmp_path / "train", *(f"{kind}_{k}.png" for kind in "abc" for k in range(3)))
    other = place(tmp_path / "val", "a_9.png", "b_9.png", "c_9.png")
    rule = find_rule(here, "filename")
    assert rule.labels(other) == ["a", "b", "c"]


@pytest.mark.parametrize("names", [["0001", "0002"], ["cat_1", "dog_2", "ape_3"], ["cat", "dog"]])
def test_names_without_classes_are_refused(tmp_path, names):
    with pytest.raises(ValueError, match=r"names like cat_01\.jpg"):
        find_rule(place(tmp_path, *(f"{name}.png" for name in names)), "filename")


def test_classes_in_names_are_pointed_out_where_there_are_no_others(tmp_path):
    here = place(tmp_path, *(f"{name}_{k}.png" for name in ("cat", "dog") for k in range(3)))
    rule = find_rule(here, "auto")
    assert rule.labels is None and rule.how == "labels = 'filename' would find 2: cat, dog"
    assert find_rule(place(tmp_path, "IMG_1.png", "IMG_2.png"), "auto").how == ""


# ----------------------------------------------------------------------------------------- by table
@pytest.mark.parametrize("labels", ["auto", "metadata"])
def test_a_table_goes_before_folders(tmp_path, labels):
    (tmp_path / "metadata.csv").write_text("file_name,label\na/1.png,x\nb/1.png,y\na/2.png,y\n")
    here = place(tmp_path, "a/1.png", "a/2.png", "b/1.png", tables=["metadata.csv"])
    rule = find_rule(here, labels)
    assert classes(rule, here) == [{"a/1.png": "x", "a/2.png": "y", "b/1.png": "y"}]
    assert rule.by_table and rule.how == "label in metadata.csv"
    assert find_rule(here, "folder").how == "folder"


def test_a_table_without_classes_is_told(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,text\na/1.png,a cat\n")
    here = place(tmp_path, "a/1.png", "b/1.png", tables=["metadata.csv"])
    rule = find_rule(here, "auto")
    assert rule.how == "folder"
    assert rule.notes == ("metadata.csv has no column of classes among ['file_name', 'text']",)
    with pytest.raises(ValueError, match=r"no metadata\.csv .* column of classes|one of classes"):
        find_rule(here, "metadata")


@pytest.mark.parametrize("labels", [name for name in LABELS if name not in ("auto", "metadata")])
def test_a_column_goes_with_a_table_alone(tmp_path, labels):
    with pytest.raises(ValueError, match="expected labels = 'metadata'"):
        find_rule(place(tmp_path, "a/1.png", "b/1.png"), labels, label_column="kind")


def test_a_column_needs_a_table(tmp_path):
    with pytest.raises(ValueError, match=r"has no metadata\.csv"):
        find_rule(place(tmp_path, "a/1.png", "b/1.png"), "auto", label_column="kind")
