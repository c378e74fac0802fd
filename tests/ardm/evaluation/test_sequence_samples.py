"""Sequences that are written: only hidden residues change, and the text says which."""

import re

import pytest
import torch

from ardm.data import make_rows, read_sequences, residue_class_table, residue_tokenizer
from ardm.data.residues import residue_ids
from ardm.evaluation import new_model
from ardm.evaluation.sequence_samples import complete, hidden_span, spread_rows, write_sequences

RECORDS = ["MKVLAAGGWY", "ACD", "MKLLVVAAPQRSTWYHH", "W"]
TOKENIZER = residue_tokenizer("protein")
SIZES = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
ROWS = make_rows(read_sequences(RECORDS, "protein"), TOKENIZER, 12)
IDS = ROWS["input_ids"][:]


@pytest.fixture(scope="module", params=[1, 3])
def model(request):
    tree = {"value_tree": residue_class_table("protein", 3)} if request.param > 1 else {}
    return new_model(TOKENIZER, 12, **SIZES, **residue_ids(TOKENIZER), **tree).eval()


@pytest.mark.parametrize(("begin", "end"), [(0, 1), (1 / 3, 2 / 3), (0.25, 0.75), (0.99, 1)])
def test_a_span_is_of_residues_and_never_empty(begin, end):
    for row in IDS:
        hidden = hidden_span(row, TOKENIZER, begin, end)
        residues = row < 26
        assert hidden.any() and not (hidden & ~residues).any()
        assert (begin, end) != (0, 1) or torch.equal(hidden, residues)
        first, last = hidden.nonzero().min(), hidden.nonzero().max()
        assert hidden[first : last + 1].all()


def test_only_what_is_hidden_is_generated_and_shown_so(model):
    hidden = torch.stack([hidden_span(row, TOKENIZER, 1 / 3, 2 / 3) for row in IDS])
    texts = complete(model, TOKENIZER, IDS, hidden, seed=0, num_return_sequences=2)
    assert len(texts) == 2 * len(IDS)
    pieces = {True: "...", False: ""}
    for number, text in enumerate(texts):
        row, span = IDS[number // 2], hidden[number // 2]
        before, inside, after = re.fullmatch(r"(.*)\[\[(.*)\]\](.*)", text).groups()
        assert len(inside) == span.sum() and {*inside} <= {*"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
        places = (row < 26).nonzero().flatten()
        start, stop = span.nonzero().min(), span.nonzero().max()
        given = [TOKENIZER.decode(row[places[keep]]) for keep in (places < start, places > stop)]
        assert before == pieces[TOKENIZER.bos_token_id not in row] + given[0]
        assert after == given[1] + pieces[TOKENIZER.eos_token_id not in row]


def test_what_is_shown_is_a_function_of_the_seed(model):
    templates = spread_rows(ROWS, 3)
    shown = write_sequences(model, TOKENIZER, templates, IDS[0], seed=1)
    assert shown == write_sequences(model, TOKENIZER, templates, IDS[0], seed=1)
    other = write_sequences(model, TOKENIZER, templates, IDS[0], seed=2)
    assert all(shown[kind] != other[kind] for kind in shown)
    assert {name: len(texts) for name, texts in shown.items()} == {
        "samples": 3,
        "infilled": 1,
        "between flanks": 3,
    }
    residues = [int((row < 26).sum()) for row in templates]
    assert [len(text.replace("...", "")) for text in shown["samples"]] == residues


@pytest.mark.parametrize(("number", "places"), [(1, [0]), (2, [0, 4]), (9, [0, 1, 2, 3, 4])])
def test_rows_are_spread_over_the_data(number, places):
    assert torch.equal(spread_rows(ROWS, number), IDS[places])


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="num_samples is 0"):
        spread_rows(ROWS, 0)
