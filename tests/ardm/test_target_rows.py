"""Target tokens are real ones that are not given; a call holds what memory and speed allow."""

import types

import pytest
import torch

from ardm.target_rows import sequences_per_call, target_rows, target_tokens

MASK, PAD = 3, 4
IDS = torch.tensor(
    [[0, 1, 2, 0, 1, 2], [PAD, PAD, 2, 2, 1, 0], [1, 0, PAD, PAD, PAD, PAD], [2, 1, 1, 0, 2, PAD]]
)
PROMPT = torch.tensor([[0, 1, 0, 0, 0, 0], [0] * 6, [0] * 6, [1, 0, 0, 1, 0, 0]])


# ------------------------------------------------------------------------------------ target tokens
def test_target_tokens_are_real_ones_outside_the_prompt(tiny_model):
    model = tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD)
    targets = target_tokens(model.config, IDS, IDS != PAD, PROMPT)
    assert torch.equal(targets, (IDS != PAD) & (PROMPT == 0))
    assert target_tokens(model.config, IDS[:1], None, None).all()
    for ids, message in (
        ([[0, PAD]], "the pad id 4 among its real tokens"),
        ([[0, 5]], r"expected 0\.\.4"),
    ):
        with pytest.raises(ValueError, match=message):
            target_tokens(model.config, torch.tensor(ids), None, None)
    # no pad id
    assert target_tokens(
        types.SimpleNamespace(vocab_size=5, mask_token_id=3), IDS[:1], None, None
    ).all()


# ----------------------------------------------------------------------------------- size of a call
@pytest.mark.parametrize("device", ["cpu", "meta"])  # meta: any device but the CPU
@pytest.mark.parametrize("vocab_size", [2, 28, 50_257, 256_000, 2**40])
@pytest.mark.parametrize("length", [0, 1, 7, 128, 4_096, 10**6])
def test_a_call_fits_the_memory_and_is_never_empty(device, vocab_size, length):
    number = sequences_per_call(
        None, torch.empty(0, length, dtype=torch.long, device=device), vocab_size
    )
    assert isinstance(number, int) and number >= 1
    tokens = {"cpu": 2_048, "meta": 16_384}[device]
    logits = 2**27  # 2.7 GB at 20 bytes
    assert number == 1 or (number * length <= tokens and number * length * vocab_size <= logits)
    more = (number + 1) * max(length, 1)
    assert more > tokens or more * vocab_size > logits  # and not smaller than it need be


def test_a_call_on_a_gpu_is_larger_and_a_large_vocabulary_makes_it_smaller():
    def number(device, vocab_size):
        return sequences_per_call(
            None, torch.empty(9, 128, dtype=torch.long, device=device), vocab_size
        )

    assert [number("cpu", 28), number("meta", 28)] == [16, 128]
    assert [number("cpu", 500_000), number("meta", 500_000)] == [2, 2]


def test_the_callers_number_is_taken_as_it_is():
    huge = torch.empty(1, 10**6, dtype=torch.long)
    assert [sequences_per_call(n, huge, 10**6) for n in (1, 5, 10**9)] == [1, 5, 10**9]
    for wrong in (0, -1, 2.0, True, "4"):
        with pytest.raises(
            ValueError, match=f"batch_size is {wrong!r}; expected an integer of at least 1"
        ):
            sequences_per_call(wrong, huge, 10)


# --------------------------------------------------------------------------------------------- rows
@pytest.mark.parametrize("padded", [False, True])
def test_rows_may_be_taken_several_times_and_in_any_order(tiny_model, padded):
    ids = IDS if padded else IDS % MASK
    attention_mask = (IDS != PAD) if padded else None
    model = tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD)
    rows = target_rows(model, ids.int(), attention_mask, PROMPT)
    row_N = torch.tensor([3, 0, 0])
    some = rows.at(row_N)
    assert rows.input_ids.dtype == torch.int64
    assert torch.equal(some.input_ids, ids[row_N])
    assert torch.equal(some.target_BL, rows.target_BL[row_N])
    assert some.num_tokens_B.tolist() == some.target_BL.sum(1).tolist()
    if attention_mask is None:
        assert some.attention_mask is None
    else:
        assert torch.equal(some.attention_mask, attention_mask[row_N])
