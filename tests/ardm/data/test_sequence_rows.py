"""Rows of sequences: every residue in one of them, marks at true ends alone, padding behind."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ardm.data import make_rows, read_sequences, residue_tokenizer
from ardm.data.sequence_rows import told_rows

TOKENIZER = residue_tokenizer("protein")
BOS, EOS, PAD = (getattr(TOKENIZER, f"{name}_token_id") for name in ("bos", "eos", "pad"))


def rows_of(records, length):
    return make_rows(read_sequences(records, "protein"), TOKENIZER, length)


@given(st.lists(st.text("ACDEFGHIKLM", min_size=1, max_size=40), min_size=1), st.integers(3, 50))
@settings(max_examples=60, deadline=None)
def test_rows_hold_every_residue_once_in_order(records, length):
    rows = rows_of(records, length)
    found = [[] for _ in records]
    for row in rows:
        assert all(row[name].shape == (length,) for name in row if name != "record")
        assert all(row[name].dtype == torch.int64 for name in row)
        ids = row["input_ids"]
        real = row["attention_mask"].bool()
        given_ = row["prompt_mask"].bool()
        assert (real == (ids != PAD)).all()
        assert (given_ == torch.isin(ids, torch.tensor([BOS, EOS]))).all()
        assert not real.int().diff().gt(0).any()  # padding is on the right
        found[int(row["record"])].append(ids[real])
    capacity = length - 2
    for record, pieces in zip(records, found, strict=True):
        assert pieces[0][0] == BOS and pieces[-1][-1] == EOS
        joined = torch.cat(pieces)
        assert (joined == BOS).sum() == (joined == EOS).sum() == 1
        assert TOKENIZER.decode(joined[1:-1]) == record
        sizes = [int((piece < 26).sum()) for piece in pieces]
        assert max(sizes) <= capacity and max(sizes) - min(sizes) <= 1
        assert len(pieces) == -(-len(record) // capacity)


def test_a_row_reads_as_it_is():
    (row,) = rows_of(["ACD"], 7)
    letters = TOKENIZER.convert_ids_to_tokens(row["input_ids"].tolist())
    assert letters == ["[BOS]", "A", "C", "D", "[EOS]", "[PAD]", "[PAD]"]


def test_many_rows_are_made_in_parts(monkeypatch):
    records = ["ACDEF" * (1 + i % 4) for i in range(30)]
    whole = rows_of(records, 9)
    monkeypatch.setattr("ardm.data.sequence_rows._ROWS_AT_ONCE", 4)
    parts = rows_of(records, 9)
    assert parts._fingerprint == whole._fingerprint
    assert np.array_equal(whole["input_ids"][:], parts["input_ids"][:])


def test_what_is_cut_is_told_or_refused():
    sequences = read_sequences(["ACDEFGHIKL", "ACD", "ACDEFG"], "protein")
    assert told_rows(sequences, 12).endswith("; each is a row")
    assert told_rows(sequences, 6).endswith("; longer than 4 and cut: 2 into 5 rows, 6 rows in all")
    assert len(make_rows(sequences, TOKENIZER, 12, "refuse")) == 3
    with pytest.raises(ValueError, match=r"2 of 3 sequences .* \(up to 10\)"):
        make_rows(sequences, TOKENIZER, 6, "refuse")


@pytest.mark.parametrize("wrong", [{"sequence_length": 2}, {"sequence_length": 8, "longer": "cut"}])
def test_other_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"(sequence_length|longer) is"):
        make_rows(read_sequences(["ACD"], "protein"), TOKENIZER, **wrong)
