"""Parts by name: validation is held out, else test; what is ambiguous is refused."""

import itertools

import pytest

from ardm.training.splits import choose_splits, like_splits, split_of, splits_in

NAMES = {
    "train": ["train", "training", "Train", "TRAIN"],
    "validation": ["validation", "valid", "val", "dev", "VAL", "Dev"],
    "test": ["test", "testing", "Test", "eval", "Evaluation"],
}


@pytest.mark.parametrize(
    ("name", "part"), [(name, part) for part, names in NAMES.items() for name in names]
)
def test_a_name_stands_for_its_part(name, part):
    assert split_of(name) == part


@pytest.mark.parametrize("name", ["", "cat", "trains", "tests", "holdout", "train_2"])
def test_other_names_stand_for_none(name):
    assert split_of(name) is None


@pytest.mark.parametrize(
    ("train", "held_out", "test"),
    [*itertools.product(NAMES["train"], NAMES["validation"], NAMES["test"])][::7],
)
def test_validation_is_held_out_before_test(train, held_out, test):
    names = [test, train, "extra", held_out]
    assert choose_splits(names, "it") == (train, held_out, [test, "extra"])
    assert choose_splits([test, train], "it") == (train, test, [])
    assert choose_splits([train], "it") == (train, None, [])


@pytest.mark.parametrize("names", [["val", "valid"], ["test", "Test"], ["train", "training"]])
def test_two_names_of_one_part_are_refused(names):
    others = [] if "train" in names else ["train"]
    with pytest.raises(ValueError, match=f"it has '{names[0]}' and '{names[1]}', which both"):
        choose_splits([*others, *names], "it")


@pytest.mark.parametrize("names", [[], ["val"], ["test", "dev"], ["a", "b"]])
def test_there_must_be_something_to_train_on(names):
    with pytest.raises(ValueError, match=r"it has the parts .*expected train"):
        choose_splits(names, "it")


@pytest.mark.parametrize(
    ("train", "held_out", "part"),
    [
        ("training_set", "test_set", "test"),
        ("train2017", "val2017", "validation"),
        ("trainA", "testA", "test"),
        ("TRAIN_SET", "DEV_SET", "validation"),
        ("my-train.été", "my-valid.été", "validation"),
    ],
)
def test_names_that_differ_in_the_part_alone_stand_for_it(train, held_out, part):
    assert splits_in([train, held_out]) == {train: "train", held_out: part}
    assert like_splits([train, held_out]) == sorted([train, held_out])


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (["bullet_train", "test_tube"], ["bullet_train", "test_tube"]),
        (["train_set", "test_set", "cats"], ["test_set", "train_set"]),
        (["trainA", "trainB", "testA"], ["testA", "trainA", "trainB"]),
        (["train_1", "train_2"], []),
        (["trainer", "tester"], []),
        (["train_test", "a"], []),
        (["cats", "dogs"], []),
        (["train_set"], []),
        ([], []),
    ],
)
def test_names_that_differ_in_more_are_only_alike(names, alike):
    assert splits_in(names) == {} and like_splits(names) == alike
