"""Figures of records: rows of one belong together, padding costs nothing, lengths sum to 1."""

import math

import pytest
import torch

from ardm import nelbo
from ardm.data import make_rows, read_sequences, residue_tokenizer
from ardm.data.residues import residue_ids
from ardm.evaluation import BoundEvaluation, new_model
from ardm.evaluation.ragged_bound import (
    RecordFigures,
    bits_by_law,
    bits_per_residue,
    length_bits,
    length_nats,
    sums_by_record,
)
from ardm.metrics.bits import bits_per_unit

RECORDS = ["MKVLAAGGWY", "ACD", "MKLLVVAAPQRSTWYHH", "W"]
TOKENIZER = residue_tokenizer("protein")
SIZES = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}


@pytest.fixture(scope="module")
def model():
    model = new_model(TOKENIZER, 32, **SIZES, **residue_ids(TOKENIZER)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return model


def rows_of(records, length):
    return make_rows(read_sequences(records, "protein"), TOKENIZER, length)


# --------------------------------------------------------------------------------------- bounds
def test_a_bound_of_rows_is_that_of_each_without_padding(model):
    rows = rows_of(RECORDS, 20)
    evaluate = BoundEvaluation(rows, None, num_samples=4, seed=7)
    assert evaluate.num_tokens.tolist() == [*map(len, RECORDS)]
    nats = evaluate.nats(model)
    for number, record in enumerate(RECORDS):
        ids = TOKENIZER(f"[BOS]{record}[EOS]", return_tensors="pt").input_ids
        alone = nelbo(
            model,
            ids,
            prompt_mask=torch.isin(ids, torch.tensor(TOKENIZER.all_special_ids)).long(),
            num_samples=4,
            row_numbers=torch.tensor([number]),
            generator=torch.Generator().manual_seed(7),
        )
        assert alone.num_tokens.item() == len(record)
        assert nats[number].item() == pytest.approx(alone.nats.item(), rel=1e-5)


def test_an_untrained_model_needs_the_alphabet(model):
    fresh = new_model(TOKENIZER, 32, **SIZES, **residue_ids(TOKENIZER))
    with torch.no_grad():
        fresh.lm_head.weight.zero_()
    rows = rows_of(RECORDS, 7)
    evaluate = BoundEvaluation(rows, None)
    value, error = bits_per_residue(evaluate.nats(fresh), evaluate.num_tokens, rows["record"][:])
    assert value == pytest.approx(math.log2(26)) and error == pytest.approx(0, abs=1e-6)


def test_records_are_sums_of_their_rows_in_any_order():
    generator = torch.Generator().manual_seed(0)
    record_W = torch.randint(0, 6, (40,), generator=generator) * 3
    nats_W = torch.rand(40, generator=generator).double()
    expected = [nats_W[record_W == number].sum().item() for number in record_W.unique()]
    assert sums_by_record(nats_W, record_W).tolist() == pytest.approx(expected)
    order = torch.randperm(40, generator=generator)
    shuffled = sums_by_record(nats_W[order], record_W[order])
    assert shuffled.tolist() == pytest.approx(expected)
    with pytest.raises(ValueError, match="expected the same"):
        sums_by_record(nats_W, record_W[1:])


def test_the_error_is_over_records_not_rows():
    """Rows of a record that are all alike tell no more than one of them."""
    source = torch.Generator().manual_seed(1)
    nats_R = torch.rand(50, generator=source).double() * 9
    sizes_R = torch.full((50,), 4)
    once = bits_per_unit(nats_R, sizes_R)
    record_W = torch.arange(50).repeat_interleave(5)
    repeated = bits_per_residue(nats_R[record_W], sizes_R[record_W], record_W)
    assert repeated == pytest.approx(once)
    by_row = bits_per_unit(nats_R[record_W], sizes_R[record_W])
    assert by_row.standard_error < 0.5 * once.standard_error


# -------------------------------------------------------------------------------------- lengths
@pytest.mark.parametrize("seen", [[1], [300, 301, 17], [*range(20, 51)]])
def test_lengths_have_a_law(seen):
    lengths = torch.arange(1, 2**14)
    probabilities = (-length_nats(torch.tensor(seen), lengths)).exp()
    # bins beyond hold half a count each, four an octave, of octaves 14..31
    beyond = 0.5 * 4 * (32 - 14)
    empty = [2 ** (b / 4) for b in range(128)]
    bins = sum(math.ceil(edge * 2**0.25) > math.ceil(edge) for edge in empty)
    assert probabilities.sum().item() == pytest.approx(1 - beyond / (len(seen) + bins / 2))
    assert (probabilities > 0).all()


def test_lengths_like_those_seen_cost_less():
    seen = torch.tensor([100] * 500)
    near, far = length_nats(seen, torch.tensor([100, 1000])).tolist()
    assert near < math.log(25) < math.log(100) < far


@pytest.mark.parametrize("length", [0, 2**32])
def test_lengths_out_of_range_are_refused(length):
    with pytest.raises(ValueError, match="lengths are"):
        length_nats(torch.tensor([3]), torch.tensor([length]))


# -------------------------------------------------------------------------------------- figures
def test_figures_tell_what_they_are_of(model):
    data = {name: read_sequences(RECORDS, "protein") for name in ("train", "validation")}
    rows = rows_of(RECORDS, 7)
    evaluate = BoundEvaluation(rows, 3)
    nats = evaluate.nats(model)
    records = rows["record"][:3]
    figures = RecordFigures.of(nats, evaluate.num_tokens, records, data)
    assert (figures.num_records, figures.num_rows) == (2, 3)
    assert figures.given_lengths == bits_per_residue(nats, evaluate.num_tokens, records)
    lengths = torch.tensor([*map(len, RECORDS)])
    assert figures.of_lengths == length_bits(lengths, lengths)
    assert "upper bound on 2 held-out records (3 rows)" in str(figures)
    law = torch.tensor([float(len(record)) for record in RECORDS]).numpy()
    assert bits_by_law(law, data["train"]) == pytest.approx(1 / math.log(2))
