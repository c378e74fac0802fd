"""Losses of masked versions are those of a plain loop; calls are bounded; the model stays."""

import copy
import types

import pytest
import torch
from torch import nn

from ardm.masked_losses import (
    Versions,
    evaluating,
    masked_losses,
    row_numbers_of,
    sequences_per_call,
    target_tokens,
)
from ardm.masking import order_uniforms
from ardm.stages import Stages

MASK, PAD = 3, 4
IDS = torch.tensor(
    [[0, 1, 2, 0, 1, 2], [PAD, PAD, 2, 2, 1, 0], [1, 0, PAD, PAD, PAD, PAD], [2, 1, 1, 0, 2, PAD]]
)
PROMPT = torch.tensor([[0, 1, 0, 0, 0, 0], [0] * 6, [0] * 6, [1, 0, 0, 1, 0, 0]])
VERSIONS = Versions(
    row=torch.tensor([0, 3, 1, 1, 2, 0, 3, 0, 2, 1]),
    key=torch.tensor([5, 2**40 + 1, 7, 8, 9, 10, 0, 3 * 2**32, 2**62, 1]),
    num_left=torch.tensor([5, 2, 4, 1, 1, 3, 3, 1, 2, 2]),
)
SEED = 11


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD, scale=0.8)


# ------------------------------------------------------------------------------------------- losses
def losses(
    model,
    ids=IDS,
    attention_mask=IDS != PAD,
    prompt_mask=PROMPT,
    versions=VERSIONS,
    seed=SEED,
    batch_size=None,
):
    targets = target_tokens(model.config, ids, attention_mask, prompt_mask)
    return masked_losses(model, ids, attention_mask, targets, versions, seed, batch_size)


@torch.no_grad()
def one_at_a_time(
    model, ids=IDS, attention_mask=IDS != PAD, prompt_mask=PROMPT, versions=VERSIONS, seed=SEED
):
    """The definition, version by version, on rows that have no padding to begin with."""
    values = []
    for row, key, num_masked in zip(*(part.tolist() for part in versions), strict=True):
        real = attention_mask[row].nonzero()[:, 0].tolist()
        text = [int(ids[row, place]) for place in real]
        targets = [i for i, place in enumerate(real) if not prompt_mask[row, place]]
        uniforms = order_uniforms(seed, torch.tensor([key]), len(text), Stages.plain(MASK))[
            0
        ].tolist()
        # the i-th target token has the i-th number
        order = sorted(range(len(targets)), key=lambda i: uniforms[i])
        hidden = [targets[i] for i in order[len(targets) - num_masked :]]
        masked = [MASK if i in hidden else token for i, token in enumerate(text)]
        log_probs = model(torch.tensor([masked])).logits[0].double().log_softmax(-1)
        values.append(-sum(float(log_probs[i, text[i]]) for i in hidden) / num_masked)
    return torch.tensor(values, dtype=torch.float64)


def test_they_are_those_of_a_loop_over_single_rows_and_masks(model):
    """In float64: only rounding, which depends on the batch around a row, may differ."""
    exact = copy.deepcopy(model).double()
    expected = one_at_a_time(exact)
    for batch_size in (None, 1, 3, 100):
        found = losses(exact, batch_size=batch_size)
        assert not found.requires_grad
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert expected.std() > 0.1  # no two of these could be mistaken for each other
    unpadded = IDS[:1].repeat(4, 1)
    none = torch.zeros_like(unpadded)
    versions = VERSIONS._replace(num_left=torch.arange(10) % 6 + 1)
    reference = one_at_a_time(exact, unpadded, none == 0, none, versions)
    found = losses(exact, unpadded, None, None, versions)
    torch.testing.assert_close(found, reference, rtol=1e-12, atol=0)


def test_sums_are_taken_in_float64_whatever_the_model_is(model):
    found = losses(model)
    assert found.dtype == torch.float64
    assert not torch.equal(found, found.float().double())


def test_padding_on_either_side_and_prompts_do_not_change_a_rows_orders(model):
    text = [0, 2, 1, 0]
    versions = Versions(
        torch.zeros(6, dtype=torch.long), torch.arange(6), torch.tensor([1, 2, 3] * 2)
    )
    found = []
    for before, after in ((0, 0), (3, 0), (0, 3), (2, 2)):
        row = torch.tensor([[PAD] * before + text + [PAD] * after])
        found.append(losses(model, row, row != PAD, torch.zeros_like(row), versions))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=2e-6)


def test_versions_depend_on_seed_and_key(model):
    base, half = losses(model), VERSIONS._replace(key=VERSIONS.key + 1)
    # where not all is masked
    partly = VERSIONS.num_left < torch.tensor([5, 3, 4, 4, 2, 5, 3, 5, 2, 4])
    for other in (losses(model, seed=SEED + 1), losses(model, versions=half)):
        assert (other - base)[partly].abs().gt(1e-4).sum() >= 3
        # all masked in any order
        torch.testing.assert_close(other[~partly], base[~partly], rtol=0, atol=2e-6)


def test_no_version_costs_no_call():
    # cannot be called
    silent = types.SimpleNamespace(config=types.SimpleNamespace(vocab_size=5, mask_token_id=3))
    nothing = torch.empty(0, dtype=torch.long)
    found = masked_losses(
        silent, IDS, None, IDS != PAD, Versions(nothing, nothing, nothing), 0, None
    )
    assert found.shape == (0,) and found.dtype == torch.float64


def test_calls_hold_no_more_sequences_than_asked_for_and_logits_of_masked_positions_only(model):
    calls = []

    def recorded(input_ids, attention_mask, logits_positions):
        calls.append(len(input_ids))
        assert torch.equal(logits_positions, input_ids == MASK)
        return model(
            input_ids=input_ids, attention_mask=attention_mask, logits_positions=logits_positions
        )

    recorded.config = model.config
    torch.testing.assert_close(losses(recorded, batch_size=4), losses(model), rtol=0, atol=2e-6)
    assert calls == [4, 4, 2]


# ------------------------------------------------------------------------------------ target tokens
def test_target_tokens_are_real_ones_outside_the_prompt(model):
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


# ------------------------------------------------------------------------------------- small checks
def test_row_numbers_are_places_unless_given():
    assert row_numbers_of(None, IDS).tolist() == [0, 1, 2, 3]
    for dtype in (torch.int64, torch.int32, torch.uint8):
        found = row_numbers_of(torch.tensor([9, 0, 9, 3], dtype=dtype), IDS)
        assert found.dtype == torch.int64 and found.tolist() == [9, 0, 9, 3]
    assert row_numbers_of(torch.tensor([2**31 - 1]), IDS[:1]).tolist() == [2**31 - 1]
    assert row_numbers_of(torch.empty(0, dtype=torch.long), IDS[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (torch.arange(3), r"torch\.int64 \(3,\); expected integers \(4,\)"),
        (torch.arange(4.0), r"torch\.float32 \(4,\)"),
        (torch.zeros(4, 1, dtype=torch.long), r"\(4, 1\)"),
        (torch.tensor([0, -2, 1, 5]), r"holds -2\.\.5; expected 0\.\.2\^31-1"),
        (torch.tensor([0, 1, 2, 2**31]), r"holds 0\.\.2147483648"),
    ],
)
def test_other_row_numbers_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        row_numbers_of(numbers, IDS)


def mixed_modules():
    """Some modules train, and some in and around them do not."""
    outer = nn.Sequential(
        nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(2, 2)), nn.Linear(2, 2)
    )
    outer[1].eval()
    outer[1][1].train()
    return outer


@pytest.mark.parametrize("fails", [False, True])
def test_evaluating_leaves_every_module_as_it_was(fails):
    for model in (mixed_modules(), mixed_modules().eval(), mixed_modules().train()):
        before = [module.training for module in model.modules()]
        try:
            with evaluating(model):
                assert not any(module.training for module in model.modules())
                if fails:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert fails
        assert [module.training for module in model.modules()] == before


def test_evaluating_leaves_anything_else_alone():
    class Other:
        training = True

    other = Other()
    with evaluating(other):
        assert vars(other) == {} and other.training
    with evaluating(len):
        assert len([1]) == 1


def test_a_failing_model_is_left_as_it_was(tiny_model):
    model = tiny_model(hidden_dropout=0.5).train()
    model.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        losses(model, IDS[:1], None, None, Versions(*torch.tensor([[0], [0], [1]])))
    assert all(module.training for module in model.modules())
