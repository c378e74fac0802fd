"""Tables beside pictures are read in every form that people write them in."""

import json
import unicodedata

import pytest

from ddpm.data.folders import Listing
from ddpm.data.metadata import LABEL_NAMES, read_metadata, table_key

ROWS = [("a.png", "cat"), ("b c.png", "dog"), ("d/é.png", "ape, small")]


def listing(folder, table, *paths):
    return Listing(folder, sorted(paths or [name for name, _ in ROWS]), [table])


def written(folder, table, file="file_name", label="label", start="", rows=ROWS):
    delimiter = {"metadata.tsv": "\t", "labels.csv": ";"}.get(table, ",")
    path = folder / table
    if table.endswith("jsonl"):
        text = "\n".join(json.dumps({file: name, label: kind}) for name, kind in rows)
    elif table.endswith("parquet"):
        import pyarrow
        from pyarrow.parquet import write_table

        names, kinds = zip(*rows, strict=True)
        write_table(pyarrow.table({file: names, label: kinds}), path)
        return listing(folder, table)
    else:
        lines = [[file, label], *([name, f'"{kind}"'] for name, kind in rows)]
        text = "\r\n".join(delimiter.join(line) for line in lines)
    path.write_text(start + text, encoding="utf-8")
    return listing(folder, table)


TABLES = ["metadata.csv", "metadata.tsv", "labels.csv", "metadata.jsonl", "metadata.parquet"]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_every_kind_of_table_is_read(tmp_path, table, start):
    found = read_metadata(written(tmp_path, table, start=start))
    assert found.classes == {table_key(name): kind for name, kind in ROWS}
    assert (found.file, found.label_column, found.notes) == (table, "label", ())


@pytest.mark.parametrize("label", [*LABEL_NAMES, "Label"])
@pytest.mark.parametrize("file", ["file_name", "filename", "image", "path"])
def test_columns_are_found_by_usual_names(tmp_path, file, label):
    found = read_metadata(written(tmp_path, "metadata.csv", file, label))
    assert found.label_column == label and len(found.classes) == 3


def test_columns_of_other_names_are_asked_for(tmp_path):
    here = written(tmp_path, "metadata.csv", "where", "species")
    assert read_metadata(here).classes is None
    with pytest.raises(ValueError, match=r"no column of file names.*image_column"):
        read_metadata(here, label_column="species")
    assert len(read_metadata(here, "where", "species").classes) == 3
    with pytest.raises(ValueError, match=r"label_column is 'kind'; expected one of \['where'"):
        read_metadata(here, "where", "kind")


def test_two_columns_of_classes_are_a_choice(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,label,category\na.png,1,cat\n")
    here = listing(tmp_path, "metadata.csv", "a.png")
    with pytest.raises(ValueError, match=r"\['label', 'category'\]; choose one by label_column"):
        read_metadata(here)
    assert read_metadata(here, label_column="category").classes == {"a.png": "cat"}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(["2", "10"], [2, 10]), (["02", "10"], ["02", "10"]), (["2", "x"], ["2", "x"])],
)
def test_whole_numbers_sort_by_size(tmp_path, labels, expected):
    rows = list(zip(["a.png", "b c.png"], labels, strict=True))
    found = read_metadata(written(tmp_path, "metadata.csv", rows=rows))
    assert list(found.classes.values()) == expected


@pytest.mark.parametrize("name", ["./a.png", "a.png ", ".\\a.png"])
def test_a_name_is_found_however_it_is_written(tmp_path, name):
    found = read_metadata(written(tmp_path, "metadata.csv", rows=[(name, "cat")]))
    assert found.classes == {"a.png": "cat"}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_are_found_in_both_of_their_forms(form):
    assert table_key(unicodedata.normalize(form, "é/ü.png")) == table_key("é/ü.png")


def test_spaces_around_cells_do_not_count(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name , label\na.png, cat \n b c.png,cat\n")
    found = read_metadata(listing(tmp_path, "metadata.csv"))
    assert found.classes == {"a.png": "cat", "b c.png": "cat"}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n"])
def test_any_usual_separator(tmp_path, separator, end):
    lines = [["", "file_name", "label"], ["0", "a.png", "cat"], ["1", "b c.png", "2 cats"]]
    text = "\n".join(separator.join(line) for line in lines) + end
    (tmp_path / "metadata.csv").write_text(text)
    found = read_metadata(listing(tmp_path, "metadata.csv"))
    assert found.classes == {"a.png": "cat", "b c.png": "2 cats"}


@pytest.mark.parametrize("start", ["\n", "\r\n\r\n", "sep=;\n", "\n\nsep=;\r\n"])
def test_what_stands_before_the_names_is_passed_over(tmp_path, start):
    text = f"{start}file_name;label\na.png;cat\nb c.png;dog\n"
    (tmp_path / "metadata.csv").write_bytes(text.encode())
    found = read_metadata(listing(tmp_path, "metadata.csv"))
    assert found.classes == {"a.png": "cat", "b c.png": "dog"}


def test_the_separator_is_that_which_makes_a_column_of_files(tmp_path):
    text = "file_name,label,a;b;c;d\na.png,cat,1\nb c.png,dog,2\n"
    (tmp_path / "metadata.csv").write_text(text)
    found = read_metadata(listing(tmp_path, "metadata.csv"))
    assert found.classes == {"a.png": "cat", "b c.png": "dog"}


def test_only_tables_with_classes_are_said_to_tell_them(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,caption\na.png,a cat\n")
    (tmp_path / "labels.csv").write_text("file_name,label\na.png,cat\nb c.png,cat\n")
    names = ["a.png", "b c.png"]
    found = read_metadata(Listing(tmp_path, names, ["labels.csv", "metadata.csv"]))
    assert (found.file, found.label_column) == ("labels.csv", "label")


def test_names_are_relative_to_the_table(tmp_path):
    for part in ("x", "y"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "metadata.csv").write_text(f"file_name,label\n1.png,{part}\n")
    tables = ["x/metadata.csv", "y/metadata.csv"]
    found = read_metadata(Listing(tmp_path, ["x/1.png", "y/1.png"], tables))
    assert found.classes == {"x/1.png": "x", "y/1.png": "y"}


def test_rows_without_a_file_are_counted_and_empty_classes_are_none(tmp_path):
    rows = [*ROWS, ("gone.png", "cat"), ("e.png", "")]
    (tmp_path / "d").mkdir()
    here = written(tmp_path, "metadata.csv", rows=rows)
    here.pictures.append("e.png")
    found = read_metadata(here)
    assert found.notes == ("1 row(s) of metadata.csv without a file",)
    assert found.classes["e.png"] is None


@pytest.mark.parametrize(
    ("table", "text", "message"),
    [
        ("metadata.csv", "file_name,label\na.png,1\na.png,2\n", "calls a.png '1' and '2'"),
        (
            "metadata.csv",
            "file_name,label\nz.png,1\n",
            "names no file that is there, such as 'z.png'",
        ),
        ("metadata.csv", "file_name,label\na,b.png,1\n", "line 2 has 3 cells, the first 2"),
        ("metadata.csv", "file_name,label\na.png\n", "line 2 has 1 cells, the first 2"),
        ("metadata.csv", "file_name,label,label\na.png,1,2\n", "two columns 'label'"),
        ("metadata.csv", "", "has nothing in its first row"),
        ("metadata.csv", "a.png,cat\nb c.png,dog\n", r"\['a.png', 'cat'\] in its first row"),
        ("metadata.jsonl", "[1]\n", "not one JSON object a line"),
        ("metadata.jsonl", '{"file_name": ', "cannot be read as a table"),
        ("metadata.parquet", "no parquet", "cannot be read as a table"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, table, text, message):
    (tmp_path / table).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_metadata(listing(tmp_path, table))


def test_numbers_that_are_none_are_no_class(tmp_path):
    rows = '{"file_name": "a.png", "label": NaN}\n' * 2 + '{"file_name": "b c.png", "label": 1}\n'
    (tmp_path / "metadata.jsonl").write_text(rows)
    found = read_metadata(listing(tmp_path, "metadata.jsonl"))
    assert found.classes == {"a.png": None, "b c.png": 1}


def test_other_encodings_are_named(tmp_path):
    (tmp_path / "metadata.csv").write_bytes("file_name,label\né.png,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"metadata\.csv cannot be read.*utf-8"):
        read_metadata(listing(tmp_path, "metadata.csv"))
