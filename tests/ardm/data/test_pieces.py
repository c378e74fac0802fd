"""Pieces make up their text, however it comes, and cutting there changes no token."""

import itertools

import datasets
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardm.data import build_tokenizer, embedded_text, pieces
from ardm.data.pieces import documents_of, pieces_of

SAMPLE = (
    "The quick brown fox - naïve, 東京, 😀 - jumps.\n\n  Over  the\r\nlazy dog: [MASK] it's 42.\n"
    * 20
)
TEXT = embedded_text()[:30_000] + SAMPLE
TOKENIZERS = {
    "char": build_tokenizer("char", TEXT),
    "byte": build_tokenizer("byte", []),
    "bpe": build_tokenizer("bpe", SAMPLE, 400),
}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(pieces, "_PIECE_CHARACTERS", 200)
    monkeypatch.setattr(pieces, "_BYTES_AT_ONCE", 333)  # within characters, too
    monkeypatch.setattr(pieces, "_DOCUMENTS_AT_ONCE", 2)


def plain_ids(tokenizer, text):
    """One call on the whole text, in which spelled-out special tokens are text."""
    return tokenizer(text, split_special_tokens=True, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_cutting_a_text_changes_no_token(kind):
    cut = [*pieces_of(TEXT)]
    assert len(cut) > 50 and "".join(cut) == TEXT and max(map(len, cut)) <= 400
    tokenizer = TOKENIZERS[kind]
    assert [i for piece in cut for i in plain_ids(tokenizer, piece)] == plain_ids(tokenizer, TEXT)


@given(st.lists(st.integers(0, len(TEXT)), max_size=9))
def test_the_parts_that_a_text_comes_in_do_not_matter(borders):
    places = [0, *sorted(borders), len(TEXT)]
    parts = [TEXT[begin:end] for begin, end in itertools.pairwise(places)]
    assert [*pieces_of(parts)] == [*pieces_of(TEXT)]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_documents_of_a_table_are_cut_as_texts_are(kind):
    documents = [TEXT, "", None, SAMPLE[:50], SAMPLE, "a"]
    table = pa.table({"number": range(6), "text": pa.array(documents, kind)})
    rows = datasets.Dataset(datasets.table.InMemoryTable(table))
    found = [[*document] for document in documents_of(rows, "text")]
    assert found == [[*pieces_of(text)] for text in documents if text]
    backwards = [[*document] for document in documents_of(rows.select([5, 4, 0]), "text")]
    assert backwards == [[*pieces_of(text)] for text in ("a", SAMPLE, TEXT)]
