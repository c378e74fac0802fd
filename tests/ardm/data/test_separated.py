"""Laws of separated values: every cell is text as it is written, and no row is lost to a guess."""

import csv
import io
import random

import pytest

from ardm.data.columns import NoTexts
from ardm.data.compression import DataFile
from ardm.data.formats import Reading

WORDS = ["null", "NA", "N/A", "nan", "NaN", "None", "-", "0", "1e5", "True", "word", " x ", "a,b"]
WORDS += ["a;b", "a\tb", 'say "hi"', "two\nlines", "東京", "#n/a"]


@pytest.fixture
def texts(write):
    """The cells of a table as it is read; None = a row without a text."""

    def texts(content, name="t.csv", column=None):
        path = write(name, content)
        documents = Reading(column).documents(DataFile(path, name))
        return [None if each is None else "".join(each) for each in documents]

    return texts


def written(rows, separator, **options):
    file = io.StringIO()
    csv.writer(file, delimiter=separator, **options).writerows(rows)
    return file.getvalue()


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.tab", "t.psv"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("num_columns", [1, 2, 4])
def test_cells_are_texts_whatever_separates_them(name, separator, num_columns, texts):
    if name != "t.csv" and separator != {"t.psv": "|"}.get(name, "\t"):
        return
    cells = [random.Random(i).choice(WORDS) for i in range(300)]
    header = ["n", "text", "m", "k"][2 - min(num_columns, 2) :][:num_columns]
    header = ["text"] if num_columns == 1 else header
    place = header.index("text")
    rows = [
        [str(i) if column != place else cell for column in range(num_columns)]
        for i, cell in enumerate(cells)
    ]
    assert texts(written([header, *rows], separator, quoting=csv.QUOTE_ALL), name) == cells


@pytest.mark.parametrize("columns", [1, 2])
def test_empty_cells_are_rows_without_a_text(columns, texts):
    rows = (
        ["text", "a", "", "b", "", ""] if columns == 1 else ["text,n", "a,1", ",2", "b,3", ",", ","]
    )
    for end in ("\n", "\r\n"):
        assert texts(end.join(rows) + end) == ["a", None, "b", None, None]


def test_rows_may_end_as_on_old_macs(texts):
    assert texts("text,n\ra,1\r\r,2\rb,3\r") == ["a", None, "b"]
    assert texts("text\tn\ra\t1\rb\t2", "t.tsv") == ["a", "b"]
    with pytest.raises(ValueError, match=r"t\.csv, line 1 cannot be read as a table"):
        texts('text,n\ra,1\r"b\nc",2\r')


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.psv"])
def test_table_without_rows_is_none(name, texts):
    for content in ("\n", "\r\n\r\n"):
        with pytest.raises(NoTexts, match=rf"{name} holds no rows"):
            texts(content, name)


def test_empty_lines_of_several_columns_are_no_rows(texts):
    assert texts("text,n\n\na,1\n\n\nb,2\n\n") == ["a", "b"]


# ----------------------------------------------------------------------------------- the first row
@pytest.mark.parametrize(
    "header", ["text", "Text", "review_text,x", "id,body", "word,n", "CONTENT", " text "]
)
def test_first_row_of_names_is_no_text(header, texts):
    columns = header.count(",") + 1
    rows = "\n".join(["some words" if columns == 1 else f"some words,{i}" for i in range(3)])
    column = {"id,body": "id"}.get(header)  # holds the words
    assert texts(f"{header}\n{rows}\n", column=column) == ["some words"] * 3


@pytest.mark.parametrize(
    "first", ["The quick brown fox.,1", "What?,x", "hello,7", "a,a", ",x", "x" * 70 + ",y", "é b,1"]
)
def test_first_row_of_text_is_kept(first, texts):
    content = f"{first}\nsecond,b\nthird,c\n"
    for column, cell in enumerate(first.split(",")):
        rest = ["second", "third"] if column == 0 else ["b", "c"]
        assert texts(content, column=str(column)) == [cell or None, *rest]
    with pytest.raises(ValueError, match=r"one of \['0', '1'\]"):  # and no names are made up
        texts(content)


def test_numbers_as_names_are_names(texts):
    assert texts("0,1\na,b\n", column="1") == ["b"]


@pytest.mark.parametrize("first", ["hello", "first line", "Yes,No", "My Column,Other Column"])
def test_first_row_that_may_be_either_is_asked_for(first, texts):
    rows = f"{first}\n" + "second\n" * 3 if "," not in first else f"{first}\nb,c\nd,e\n"
    with pytest.raises(ValueError, match=r"does its first row.*text_column='0'"):
        texts(rows)
    name, *_ = first.split(",")
    assert texts(rows, column="0")[0] == name
    assert texts(rows, column=name)[0] != name


def test_numbers_are_no_texts_unless_they_are_called_so(texts):
    assert texts("text\n1\n2\n") == ["1", "2"]
    assert texts("n,body\n1,a\n2.5,b\n-3,c\n") == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"'n'.*holds no strings.*one of \['body'\]"):
        texts("n,body\n1,a\n", column="n")
    with pytest.raises(
        ValueError, match=r"one of \['title', 'body'\], of \['title', 'body', 'n'\]"
    ):
        texts("title,body,n\na,b,1\n")


# -------------------------------------------------------------------------------------- the others
def test_quotes_of_tsv_may_quote_nothing(texts):
    rows = ['"Hello" he said\t1', '"open\t2', 'in"side\t3', "plain\t4"]
    assert texts("text\tn\n" + "\n".join(rows) + "\n", "t.tsv") == [r.split("\t")[0] for r in rows]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("text\nhello, world\nfoo\n", "line 2: a row of 2 cells, where others have 1.*quotes"),
        ("text,n\na,1\nb\n", "line 3: a row of 1 cells, where others have 2"),
        ("text,n\n" + "a,1\n" * 2000 + "b,2,3\n", "line 2002: a row of 3 cells"),
        ('text,n\n"a" b,1\n', "line 2 cannot be read as a table"),
        ('text,n\n"a,1\n', "cannot be read as a table"),
        ("text,n,text\na,1,b\n", "has 2 columns called 'text'"),
        ("text;a,n\nx;b,1\n", r"may be separated by any of \[',', ';'\]"),
    ],
)
def test_rows_that_do_not_fit_are_refused(content, match, texts):
    with pytest.raises(ValueError, match=rf"t\.csv.*{match}"):
        texts(content)


def test_long_tables_and_long_cells_are_read_to_the_end(texts):
    cells = [f"cell {i}\nof two lines" for i in range(1500)] + ["x" * 200_000]
    assert texts(written([["text"], *([cell] for cell in cells)], ",")) == cells
