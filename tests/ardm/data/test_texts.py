"""Laws of the texts: nothing of a corpus is lost or twice, and what cannot be read is named."""

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path
from pydoc_data.topics import topics

import datasets
import pytest

from ardm.data import embedded_text, load_texts, load_validation_texts, read_text

SAMPLE = "The quick brown fox - naïve, 東京, 😀.\n\n  Over  the\r\nlazy dog.\n" * 20


def rows(*texts):
    return datasets.Dataset.from_dict({"text": list(texts)})


def text_of(dataset):
    return "".join(row["text"] for row in dataset)


def test_embedded_text_is_one_long_sorted_text():
    assert len(embedded_text()) > 300_000
    assert embedded_text().startswith(topics[min(topics)])
    assert len(embedded_text()) == sum(map(len, topics.values())) + 2 * (len(topics) - 1)


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress), (".bz2", bz2.compress)],
)
def test_read_text_keeps_every_character(suffix, pack, write):
    assert read_text(write(f"a.txt{suffix}", pack(SAMPLE.encode()))) == SAMPLE


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("empty.txt", b"", "empty.txt is empty"),
        ("latin.txt", b"abc\xe9 d", "latin.txt is not UTF-8.*offset 3"),
        ("bad.xz", b"not xz", "bad.xz cannot be read"),
        ("bad.gz", b"not gzip", "bad.gz cannot be read"),
        ("cut.xz", lzma.compress(SAMPLE.encode())[:40], "cut.xz cannot be read"),
    ],
)
def test_read_text_errors(name, data, match, write):
    with pytest.raises(ValueError, match=match):
        read_text(write(name, data))


def test_read_text_of_nothing_and_of_a_directory(tmp_path):
    with pytest.raises(ValueError, match=r"nope\.txt does not exist"):
        read_text(tmp_path / "nope.txt")
    with pytest.raises(ValueError, match="is a directory"):
        read_text(tmp_path)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("fraction", [0.05, 0.5])
def test_held_out_text_is_the_end(fraction, streaming):
    splits = load_texts(validation_fraction=fraction, streaming=streaming)
    train, validation = text_of(splits["train"]), text_of(splits["validation"])
    assert train + validation == embedded_text()
    assert len(validation) == round(fraction * len(embedded_text()))
    assert isinstance(splits["train"], datasets.IterableDataset) == streaming


TEXTS = [f"document {i}" for i in range(10)]
TABLES = {
    "t.jsonl": "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in TEXTS),
    "t.jsonl.gz": gzip.compress(
        "".join(json.dumps({"body": text}) + "\n" for text in TEXTS).encode()
    ),
    "t.csv": "body,n\n" + "".join(f"{text},1\n" for text in TEXTS),
}


@pytest.mark.parametrize("name", TABLES)
def test_rows_of_a_table_are_documents(name, write):
    path = write(name, TABLES[name])
    splits = load_texts(train_file=path, validation_fraction=0.2)
    assert (
        list(splits["train"]["text"]) == TEXTS[:8]
        and list(splits["validation"]["text"]) == TEXTS[8:]
    )
    assert splits["train"].column_names == ["text"]
    streams = load_texts(train_file=path, validation_file=path, streaming=True)
    assert [row["text"] for row in streams["train"]] == TEXTS


def test_directory_is_its_files_in_order(write):
    for i in (2, 0, 1):
        path = write(f"{i}.txt", TEXTS[i])
    splits = load_texts(train_file=path.parent, validation_file=path)
    assert (
        list(splits["train"]["text"]) == TEXTS[:3]
        and list(splits["validation"]["text"]) == TEXTS[1:2]
    )
    write("3.csv", "text\na\nb\n")
    splits = load_texts(train_file=path.parent, validation_file=path)
    assert list(splits["train"]["text"]) == [*TEXTS[:3], "a", "b"]


@pytest.mark.parametrize("streaming", [False, True])
def test_saved_data_sets_are_loaded_by_their_path(streaming, tmp_path):
    rows(*TEXTS).save_to_disk(tmp_path / "one")
    splits = load_texts(dataset_name=str(tmp_path / "one"), streaming=False)
    assert text_of(splits["train"]) + text_of(splits["validation"]) == "".join(TEXTS)
    saved = datasets.DatasetDict(
        train=rows(*TEXTS[:4]), validation=rows(*TEXTS[4:]), test=rows("no")
    )
    saved.save_to_disk(tmp_path / "three")
    splits = load_texts(dataset_name=str(tmp_path / "three"), streaming=streaming)
    assert set(splits) == {"train", "validation"} and text_of(splits["validation"]) == "".join(
        TEXTS[4:]
    )


def test_text_column_is_found_or_asked_for(write):
    path = write("t.csv", "a,b,n\nx,y,1\nu,v,2\n")
    assert text_of(load_texts(train_file=path, text_column="b")["train"]) == "y"
    for column in (None, "n", "nope"):
        with pytest.raises(ValueError, match=r"one of \['a', 'b'\], of \['a', 'b', 'n'\]"):
            load_texts(train_file=path, text_column=column)


@pytest.mark.parametrize("fraction", [0, -0.1, 0.51, float("nan")])
def test_validation_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match=r"validation_fraction.*0\.5"):
        load_texts(validation_fraction=fraction)


def test_load_errors_name_what_was_asked(tmp_path, write):
    (tmp_path / "void").mkdir()
    rows("a").save_to_disk(tmp_path / "short")
    datasets.DatasetDict(test=rows("a")).save_to_disk(tmp_path / "test")
    jsonl = write("t.jsonl", TABLES["t.jsonl"])
    for arguments, match in [
        ({"dataset_name": "nobody/nothing"}, "nobody/nothing.*Hub"),
        ({"dataset_name": str(tmp_path / "nope")}, "nope.*save_to_disk"),
        ({"dataset_name": str(tmp_path / "test")}, r"\['test'\].*train"),
        ({"dataset_name": str(tmp_path / "short")}, "1 character;.*validation_file"),
        ({"dataset_name": "x", "train_file": "y"}, "one of them"),
        ({"dataset_config_name": "x"}, "without a dataset_name"),
        ({"validation_file": "x"}, "without a train_file"),
        ({"train_file": tmp_path / "void"}, "void holds no files"),
        ({"train_file": tmp_path / "nope.txt"}, "nope.txt does not exist"),
        ({"train_file": tmp_path / "nope.csv"}, "nope.csv does not exist"),
        ({"train_file": write("bad.jsonl", "{not json")}, "bad.jsonl.*json"),
        ({"dataset_name": str(jsonl), "dataset_config_name": "x"}, "configurations alone"),
        ({"train_file": []}, "expected a path"),
        ({"train_file": b"a.txt"}, "got b'a.txt'; expected a path"),
        ({"train_file": [3]}, r"got \[3\]; expected a path"),
        ({"include": ["*"]}, "include=.*without a train_file"),
        ({"dataset_name": str(tmp_path / "short"), "line_by_line": True}, "expected it for files"),
        ({"dataset_name": str(tmp_path / "short"), "include": ["*"]}, "expected it for files"),
    ]:
        with pytest.raises(ValueError, match=match):
            load_texts(**arguments)


# ------------------------------------------------------------------- one rule for every argument
FOLDERS = {
    "code": {"a.py": "x = 1\n\ny = 2\n", "b.py": "z\n", "__init__.py": "", "logo.png": b"\x89\0"},
    "rows": {"a.jsonl": '{"text": "one"}\n{"text": "two"}\n', "b.csv": "text\nNA\nnull\n"},
    "parts": {"train/a.txt": "a", "train/b.txt": "b", "val/c.txt": "c", "test/d.txt": "d"},
    "named": {"wiki.train.tokens": "a", "wiki.test.tokens": "b", "README.md": "c"},
    "set[1]": {"t[1].jsonl": '{"text": "one"}\n{"text": "two"}\n'},
}
DOCUMENTS = {
    "code": (["x = 1\n\ny = 2\n"], ["z\n"]),
    "rows": (["one", "two", "NA"], ["null"]),
    "parts": (["a", "b"], ["c"]),
    "named": (["a"], ["b"]),
    "set[1]": (["one"], ["two"]),
}


def documents(**arguments):
    splits = load_texts(**arguments)
    return tuple([row["text"] for row in splits[name]] for name in ("train", "validation"))


@pytest.fixture(params=FOLDERS)
def folder(request, write):
    for name, content in FOLDERS[request.param].items():
        path = write(f"{request.param}/{name}", content)
    write("set1/t1.jsonl", '{"text": "wrong"}\n{"text": "wrong"}\n')
    root = path
    while root.name != request.param:
        root = root.parent
    return root


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("line_by_line", [False, True])
def test_a_folder_is_the_same_text_by_any_argument(folder, line_by_line, streaming):
    options = {"line_by_line": line_by_line, "streaming": streaming}
    if line_by_line and folder.name in ("rows", "set[1]"):
        for name in ("train_file", "dataset_name"):
            with pytest.raises(ValueError, match="line_by_line is for texts"):
                load_texts(**{name: str(folder)}, **options)
        return
    by_file = documents(train_file=folder, **options)
    assert documents(dataset_name=str(folder), **options) == by_file
    assert documents(train_file=folder.as_uri(), **options) == by_file
    assert documents(train_file=[str(folder)], **options) == by_file
    if not line_by_line:
        assert by_file == DOCUMENTS[folder.name]


def test_validation_text_is_what_would_be_held_out(folder):
    alone = load_validation_texts(str(folder))
    train, held_out = DOCUMENTS[folder.name]
    has_parts = folder.name in ("parts", "named")
    assert list(alone["validation"]["text"]) == (held_out if has_parts else train + held_out)
    both = load_texts(train_file=folder, validation_file=folder)
    assert list(both["validation"]["text"]) == list(alone["validation"]["text"])
    assert list(both["train"]["text"]) == (train if has_parts else train + held_out)
    assert ("not used" in both.report) == has_parts


def test_a_replaced_file_is_read_anew(write):
    for suffix in ("txt", "csv", "jsonl", "parquet"):
        path = write(f"a.{suffix}", "")
        read = []
        for word in ("first", "other"):  # of one size
            table = rows(word, word)
            content = {"txt": f"{word} {word}", "csv": f"text\n{word}\n{word}\n"}.get(suffix)
            if content is not None:
                path.write_text(content)
            elif suffix == "jsonl":
                table.to_json(path)
            else:
                table.to_parquet(path)
            os.utime(path, (1, 1))
            splits = load_texts(train_file=path)
            read.append((splits["train"]["text"][0][:5], splits["train"]._fingerprint))
        assert [text for text, _ in read] == ["first", "other"]
        assert len({key for _, key in read}) == 2


@pytest.mark.parametrize(
    "name", ["./gone", "../gone", "~/gone", "/gone", "a/b/c", "gone.txt", "a/gone.jsonl.gz"]
)
def test_a_mistyped_path_is_no_name_of_the_hub(name, monkeypatch):
    monkeypatch.setattr("ardm.data.named._load", None)
    for argument in ("dataset_name", "train_file"):
        with pytest.raises(ValueError, match=f"{Path(name).name} does not exist"):
            load_texts(**{argument: name})


def test_one_line_tells_what_was_read(folder, caplog):
    with caplog.at_level("INFO", "ardm.data"):
        splits = load_texts(train_file=folder)
    assert [record.message for record in caplog.records] == [splits.report]
    counts = splits.reports["train"].counts()
    num_documents = len(DOCUMENTS[folder.name][0]) + (
        0 if "validation" in splits.reports else len(DOCUMENTS[folder.name][1])
    )
    assert counts["documents"] == num_documents
    if folder.name == "code":
        assert "skipped: 1 empty file (__init__.py), 1 picture (logo.png)" in splits.report


def test_line_ends_stay_and_a_byte_order_mark_goes(write):
    path = write("a.txt", b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert "".join("".join(part) for part in documents(train_file=path)) == "one\r\ntwo\r\n"
