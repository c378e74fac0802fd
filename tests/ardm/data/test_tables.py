"""Laws of tables: every row once, in order, whatever shape the file has."""

import io
import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from ardm.data import tables
from ardm.data.columns import NoTexts
from ardm.data.compression import DataFile
from ardm.data.formats import Reading

TEXTS = ["a", None, "", "null", 'say "hi", \\ [x] {y}\n', "東京 😀", "x" * 5000, "end"]
ROWS = [{"n": i, "text": text} for i, text in enumerate(TEXTS)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
SHAPES = {
    "t.jsonl": LINES,
    "t.ndjson": LINES.replace("\n", "\r\n"),
    "t.jsonlines": "\n" + LINES.replace("}\n", "}\n\n"),
    "lines.json": LINES,
    "list.json": json.dumps(ROWS),
    "pretty.json": json.dumps(ROWS, indent=2),
    "tight.json": json.dumps(ROWS, separators=(",", ":")),
    "spaced.json": " \n[\n" + " , \n".join(map(json.dumps, ROWS)) + "\n]\n ",
    "nested.json": json.dumps({"version": 1, "tags": ["x"], "data": ROWS}, indent=1),
}


@pytest.fixture
def texts(write):
    def texts(content, name, column=None):
        path = write(name, content)
        documents = Reading(column).documents(DataFile(path, name))
        return [None if each is None else "".join(each) for each in documents]

    return texts


@pytest.mark.parametrize("size", [10, 100, 2**20])
@pytest.mark.parametrize("name", SHAPES)
def test_json_of_any_shape(name, size, texts, monkeypatch):
    monkeypatch.setattr("ardm.data.characters._PIECE_BYTES", size)
    monkeypatch.setattr(tables, "_PIECE", size)
    assert texts(SHAPES[name], name) == TEXTS


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("s.jsonl", '"a"\n"b"\n', ["a", "b"]),
        ("s.json", '["a", "b"]', ["a", "b"]),
        ("one.json", '{"text": "a"}', ["a"]),
        ("two.json", '{"text": "a"}\n{"text": "b"}', ["a", "b"]),
        ("columns.json", '{"text": ["a", "b"], "n": [1, 2]}', ["a", "b"]),
        ("some.jsonl", '{"n": 1}\n{"text": "a"}\n', [None, "a"]),
        ("nulls.jsonl", 'null\n{"text": "a"}\nnull\n', [None, "a", None]),
        ("nulls.json", '[{"text": "a"}, null]', ["a", None]),
        ("only.jsonl", '{"text": null}\nnull\n', [None, None]),
        ("mac.jsonl", '{"text": "a"}\r{"text": "b\\r"}\r', ["a", "b\r"]),
        ("none.json", "[]", []),
    ],
)
def test_json_of_strings_and_of_columns(name, content, expected, texts):
    if expected:
        assert texts(content, name) == expected
    else:
        with pytest.raises(NoTexts):
            texts(content, name)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("bad.jsonl", '{"text": "a"}\n{"text": ', "bad.jsonl, line 2 cannot be read as json"),
        ("bad.json", '[{"text": "a"}, {"text": "b"', "bad.json cannot be read as json"),
        ("open.json", '[{"text": "a"}', "open.json cannot be read as json"),
        ("more.json", '[{"text": "a"}] [{"text": "b"}]', "goes on behind its list"),
        ("deep.json", "[" * 100_000, "deep.json.*(nested|json)"),
        ("number.json", "[1, 2]", "row 1: got '1'"),
        ("mixed.jsonl", '{"text": "a"}\n' * 1200 + '{"text": 5}\n', "row 1201.*'5', a int"),
        ("lists.json", '{"a": [{"text": "x"}], "b": [{"text": "y"}]}', r"lists \['a', 'b'\]"),
        ("turned.json", '{"text": {"0": "a"}}', "no 'text' that is a text or a list of texts"),
        ("settings.json", '{"name": "a", "version": "1"}', "no 'text'"),
    ],
)
def test_json_that_is_no_table_is_named(name, content, match, texts):
    with pytest.raises(ValueError, match=match):
        texts(content, name)


TYPES = [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]


@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("name", ["t.parquet", "stream.arrow", "file.arrow"])
def test_columns_of_strings(name, kind, texts):
    column = pa.array(TEXTS).cast(kind) if kind != pa.string() else pa.array(TEXTS)
    table = pa.table({"n": list(range(len(TEXTS))), "text": column})
    file = io.BytesIO()
    if name == "t.parquet":
        pyarrow.parquet.write_table(table, file, row_group_size=3)
    else:
        new = pa.ipc.new_stream if name == "stream.arrow" else pa.ipc.new_file
        with new(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    assert texts(file.getvalue(), name) == TEXTS
    with pytest.raises(ValueError, match=r"'n'.*holds no strings.*\['text'\], of \['n', 'text'\]"):
        texts(file.getvalue(), name, "n")


@pytest.mark.parametrize("name", ["bad.parquet", "bad.arrow"])
def test_damaged_tables_are_named(name, texts):
    with pytest.raises(ValueError, match=f"{name} cannot be read as {name[4:]}"):
        texts(b"nothing of the kind" * 10, name)
