"""Files of chats: whole rows out of every format, held-out ones, and what is refused."""

import csv
import io
import json

import pytest
from datasets import Dataset, DatasetDict

from ardm.data.chat_files import load_chats
from ardm.data.chats import messages_of

ROWS = [{"prompt": f"{n} + {n}?", "completion": "NA" if n == 3 else str(2 * n)} for n in range(20)]
CHATS = [
    {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "no"}]}
    for n in range(20)
]


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(rows):
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", jsonl(ROWS)), ("a.json", json.dumps(ROWS)), ("a.csv", table(ROWS))],
)
def test_files_of_pairs(write, name, content):
    parts = load_chats(train_file=[str(write(name, content))], validation_fraction=0.1)
    assert [*parts["train"], *parts["validation"]] == ROWS
    assert len(parts["validation"]) == 2


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_files_of_messages(write, kind):
    path = write(f"a.{kind}", jsonl(CHATS))
    if kind == "parquet":
        Dataset.from_list(CHATS).to_parquet(path)
    parts = load_chats(train_file=str(path))
    assert [messages_of(row) for row in parts["train"]] == [row["messages"] for row in CHATS[:19]]


def test_a_file_of_its_own_is_validated_on(write):
    train, held_out = write("a.jsonl", jsonl(ROWS)), write("b.jsonl", jsonl(ROWS[:3]))
    parts = load_chats(train_file=str(train), validation_file=str(held_out))
    assert (len(parts["train"]), len(parts["validation"])) == (20, 3)


def test_a_saved_data_set_with_its_parts(tmp_path):
    folder = str(tmp_path / "saved")
    DatasetDict(train=Dataset.from_list(ROWS), test=Dataset.from_list(CHATS)).save_to_disk(folder)
    parts = load_chats(dataset_name=folder)
    assert len(parts["train"]) == 20 and "messages" in parts["validation"][0]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"train_file": "none.jsonl"}, "there is no file none.jsonl"),
        ({"train_file": "a.txt"}, "got the files a.txt; expected .json, .jsonl"),
        ({"train_file": ["a.csv", "b.json"]}, "all of one kind"),
        ({"train_file": "a.csv", "dataset_name": "me/mine"}, "expected one of them"),
        ({"dataset_config_name": "x"}, "without a dataset_name"),
        ({"dataset_name": "./mine"}, "expected a data set of the Hub or a folder"),
        ({"validation_fraction": 0.6}, "expected more than 0 and at most 0.5"),
    ],
)
def test_what_cannot_be_read_is_refused(given, named):
    with pytest.raises(ValueError, match=named):
        load_chats(**given)


def test_files_that_are_damaged_or_too_short(write):
    with pytest.raises(ValueError, match=r"cannot load the files .*a\.jsonl"):
        load_chats(train_file=str(write("a.jsonl", "{")))
    with pytest.raises(ValueError, match=r"row 1 of .*another number of cells"):
        load_chats(train_file=str(write("a.csv", "prompt,completion\na,b,c\n")))
    with pytest.raises(ValueError, match="there is 1 row to train on"):
        load_chats(train_file=str(write("b.jsonl", jsonl(ROWS[:1]))))
