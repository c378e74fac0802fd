"""Laws of folders: names tell parts if they tell them of all files; what is dropped is said."""

from pathlib import Path

import pytest

from ardm.data.compression import DataFile
from ardm.data.folders import parts_of
from ardm.data.reports import TextReport


def parts(*names):
    report = TextReport()
    files = [DataFile(Path(name), name) for name in names]
    found = parts_of(files, "data", report)
    train = [file.name for file in found.train]
    held_out = [file.name for file in found.held_out]
    dropped = {name for names in report.skipped.values() for name in names}
    assert sorted([*train, *held_out, *dropped]) == sorted(names)
    return train, held_out, found.name


HELD_OUT = ["validation", "valid", "val", "dev", "test", "Val", "TEST"]


@pytest.mark.parametrize("name", HELD_OUT)
@pytest.mark.parametrize("train", ["train", "Train", "training"])
def test_sub_folders_are_parts(train, name):
    files = [f"{train}/a.txt", f"{train}/deep/b.md", f"{name}/c.txt"]
    assert parts(*files) == (files[:2], files[2:], name)
    inner = [f"data/{file}" for file in files]
    assert parts(*inner) == (inner[:2], inner[2:], name)
    deep = [f"/home/a.zip/data/{file}" for file in files]
    assert parts(*deep) == (deep[:2], deep[2:], name)
    assert parts(*files, "README.md") == (files[:2], files[2:], name)  # counted


@pytest.mark.parametrize("name", HELD_OUT)
@pytest.mark.parametrize(
    "form",
    ["{}.txt", "wiki.{}.tokens", "{}-00000-of-00002.parquet", "data/{}.jsonl", "my_{}.csv.gz"],
)
def test_file_names_are_parts(form, name):
    train, held_out = form.format("train"), form.format(name)
    found, kept, part = parts(train, held_out, "README.md")
    assert (found, kept) == ([train], [held_out])
    assert part == {"valid": "validation", "val": "validation", "dev": "validation"}.get(
        name.lower(), name.lower()
    )


@pytest.mark.parametrize("make", ["{}/a.txt", "{}.txt"])
def test_validation_comes_before_test(make):
    files = {name: make.format(name) for name in ("train", "test", "validation")}
    train, held_out, _ = parts(*files.values())
    assert (train, held_out) == ([files["train"]], [files["validation"]])


@pytest.mark.parametrize(
    "names",
    [
        ["a.txt", "b.txt"],
        ["train.py", "model.py", "test_model.py"],  # code: not all its files are parts
        ["train/a.py", "b.py"],  # nothing to hold out
        ["test/a.txt", "val/b.txt"],  # nothing to train on
        ["train.txt", "notes.txt", "test.txt"],
        ["training_dev.txt", "a.txt"],
        ["train.txt", "test.csv"],
        ["constrain.txt", "latest.txt"],
        ["x/train/a.txt", "y/test/b.txt"],
        ["z/x/train/a.txt", "z/y/test/b.txt"],
    ],
)
def test_other_names_are_all_trained_on(names):
    assert parts(*names) == (names, [], None)


def test_two_names_of_one_part_are_refused():
    with pytest.raises(ValueError, match=r"'val' and 'dev'|'dev' and 'val'"):
        parts("train/a", "val/b", "dev/c")
