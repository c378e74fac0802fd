"""Laws of reading: every file is read, skipped or refused, and every document counted."""

import shutil
import zipfile

import datasets
import pytest

from ardm.data import load_texts, load_validation_texts
from ardm.data.formats import Reading
from ardm.data.paths import Choice
from ardm.data.reading import find_files, spool_files
from ardm.data.reports import TextReport
from ardm.data.storage import Spool

FILES = {
    "a.txt": "one document",
    "b/c.jsonl": '{"text": "a row"}\n{"text": null}\n{"text": ""}\n{"text": "null"}\n',
    "b/d.csv": "text\nNA\n\nword\n",
    "b/e.fasta": ">x\nACD\n>y\n",
    "code.py": "x = 1\n",
    "__init__.py": "",
    "logo.png": b"\x89PNG\0\0",
    "weights.bin": b"\0\1\2\3",
    "package.json": '{"name": "a", "version": "1"}',
    "numbers.csv": "x,y\n1,2\n",
}


def read(*given, include=(), exclude=(), **settings):
    report = TextReport()
    parts = find_files(given, Choice(include, exclude), report)
    with Spool() as spool:
        spool_files(spool, parts.train, Reading(**settings), report, given)
        return list(spool.rows()["text"]), report


@pytest.fixture
def folder(write):
    for name, content in FILES.items():
        write(f"d/{name}", content)
    return write("d/a.txt", FILES["a.txt"]).parent


def test_mixed_folder_is_read_by_format_and_the_rest_counted(folder):
    texts, report = read(folder)
    assert texts == ["one document", "a row", "null", "NA", "word", "ACD", "x = 1\n"]
    assert report.num_files == 5 and report.num_documents == 7
    assert report.num_characters == len("".join(texts))
    assert report.skipped == {
        "empty file": ["__init__.py"],
        "picture": ["logo.png"],
        "binary file": ["weights.bin"],
        "table without texts": ["numbers.csv", "package.json"],
    }
    assert report.left_out == {"row without a text": 2, "empty document": 2}


def test_lines_are_documents_and_empty_ones_are_counted(folder):
    (folder / "a.txt").write_bytes(b"x\r\n\r\ny\n\nz")
    texts, report = read(folder, line_by_line=True, include=["*.txt", "*.jsonl"])
    assert texts == ["x", "y", "z", "a row", "null"]
    assert report.left_out == {"row without a text": 1, "empty document": 3}


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("__init__.py", "__init__.py is empty, expected text"),
        ("logo.png", "logo.png is a picture"),
        ("weights.bin", "weights.bin is a binary file"),
        ("package.json", "no 'text'"),
        ("numbers.csv", "expected text_column"),
    ],
)
def test_single_file_is_never_skipped(name, match, folder):
    with pytest.raises(ValueError, match=match):
        read(folder / name)


def test_nothing_left_is_refused_with_the_counts(folder):
    with pytest.raises(
        ValueError, match=r"d: no documents.*skipped: 1 empty file \(__init__\.py\)"
    ):
        read(folder, include=["__init__.py"])
    with pytest.raises(ValueError, match=r"t\.csv: no documents.*left out: 2 rows without a text"):
        (folder / "t.csv").write_text("text,n\n,1\n,2\n")
        read(folder / "t.csv")


def test_held_out_part_without_documents_is_named(write):
    write("d/train.txt", "text")
    given = write("d/test.txt", "").parent
    with pytest.raises(ValueError, match=r"^the held-out part 'test' of .*d: no documents"):
        load_texts(train_file=given)


@pytest.mark.parametrize(
    ("setting", "fits", "other"),
    [("line_by_line", "a.txt", "b/c.jsonl"), ("text_column", "b/c.jsonl", "a.txt")],
)
def test_settings_that_no_file_has_a_use_for_are_refused(setting, fits, other, folder):
    asked = {setting: True if setting == "line_by_line" else "text"}
    for files in ((fits, other), (other, fits), (fits, fits)):
        train, held_out = (str(folder / name) for name in files)
        load_texts(train_file=train, validation_file=held_out, **asked)
    load_texts(train_file=folder, exclude=["numbers.csv"], **asked)
    told = rf"{setting}.* is for .*{other.split('/')[-1]}"
    unfit = str(folder / other)
    for given in ({}, {"validation_file": unfit}):
        with pytest.raises(ValueError, match=told):
            load_texts(train_file=unfit, **given, **asked)
    with pytest.raises(ValueError, match=told):
        load_validation_texts(unfit, **asked)
    with pytest.raises(ValueError, match=f"{setting}=.* without a train_file"):
        load_texts(**asked)


PARTS = {"train.txt": "to train", "valid.txt": "to hold out", "test.txt": "not used"}


@pytest.mark.parametrize("form", ["{}", "{}/*", "{}/*.txt", "{}/../p*/*", "{}.zip", "deep.zip"])
@pytest.mark.parametrize("folders", [False, True])
def test_parts_are_the_same_in_folders_patterns_and_zips(form, folders, write):
    names = {name: name.replace(".txt", "/a.txt") if folders else name for name in PARTS}
    for name, text in PARTS.items():
        folder = write(f"parts/{names[name]}", text)
    folder = folder.parent.parent if folders else folder.parent
    for zipped, root in ((f"{folder}.zip", ""), (folder.parent / "deep.zip", "x/y/")):
        with zipfile.ZipFile(zipped, "w") as archive:
            for name, text in PARTS.items():
                archive.writestr(root + names[name], text)
    if folders and form == "{}/*.txt":
        form = "{}/*/*.txt"
    given = str(folder.parent / form) if form == "deep.zip" else form.format(folder)
    splits = load_texts(train_file=given)
    assert {name: list(rows["text"]) for name, rows in splits.items()} == {
        "train": ["to train"],
        "validation": ["to hold out"],
    }
    assert "1 file of test" in splits.report and "from 1 file; held out: valid" in splits.report


@pytest.mark.parametrize("form", ["{}", "{}/*", "{}/**/*", "{}.zip"])
def test_files_of_datasets_beside_texts_are_no_texts(form, write, tmp_path):
    tables = {name: datasets.Dataset.from_dict({"text": [name, "x"]}) for name in ("train", "test")}
    datasets.DatasetDict(tables).save_to_disk(tmp_path / "saved" / "in" / "two")
    tables["train"].save_to_disk(tmp_path / "saved" / "in" / "one")
    shutil.make_archive(str(tmp_path / "saved"), "zip", tmp_path / "saved")
    texts, report = read(form.format(tmp_path / "saved"))
    assert texts == ["train", "x", "test", "x", "train", "x"]
    assert len(report.skipped.pop("file of `datasets`")) == 7 and not report.skipped
    write("d/state.json", '["a text"]')
    texts, _ = read(write("d/a.txt", "a").parent)
    assert texts == ["a", "a text"]


def test_files_trained_and_validated_on_are_told(folder):
    file = str(folder / "a.txt")
    for train in (folder, file, str(folder / "*.txt"), [file, folder / "code.py"]):
        splits = load_texts(train_file=train, validation_file=file)
        assert "validation: read 1 document" in splits.report
        assert "trained on, too: 1 of the files" in splits.report
    splits = load_texts(train_file=folder / "b", validation_file=file)
    assert "trained on" not in splits.report


def test_choice_is_among_all_that_fits_a_pattern(folder):
    texts, report = read(str(folder / "*"), include=["*.jsonl", "code.*"])
    assert texts == ["a row", "null", "x = 1\n"]
    assert len(report.skipped["file not included"]) == len(FILES) - 2
    texts, report = read(str(folder / "*"), exclude=[folder.parent.name, "b", "*.json"])
    assert texts == ["one document", "x = 1\n"]  # folders above the pattern are not asked


@pytest.mark.parametrize("name", ["latin.txt", "broken.jsonl", "cut.gz", "uneven.csv"])
def test_damage_in_a_folder_is_refused(name, folder):
    (folder / name).write_bytes(b"text\n{\xe9,\n")
    with pytest.raises(ValueError, match=name):
        read(folder)
    texts, report = read(folder, exclude=[name])
    assert len(texts) == 7 and report.skipped["excluded file"] == [name]


def test_several_files_folders_and_patterns(folder):
    texts, _ = read(folder / "code.py", str(folder / "*.txt"), folder / "b")
    assert texts == ["x = 1\n", "one document", "a row", "null", "NA", "word", "ACD"]
    texts, report = read(folder / "a.txt", str(folder / "*.txt"), folder / "a.txt")
    assert texts == ["one document"]
    assert report.skipped == {"file named twice": [str(folder / "a.txt")] * 2}
    with pytest.raises(ValueError, match="gone does not exist"):
        read(folder / "a.txt", folder / "gone")
