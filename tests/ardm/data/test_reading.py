"""Laws of reading: every file is read, skipped or refused, and every document counted."""

import pytest

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
    with pytest.raises(ValueError, match=r"line_by_line is for texts, and b/c\.jsonl"):
        read(folder, line_by_line=True, include=["*.jsonl"])


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
