"""Losses of masked versions are those of a plain loop; the model stays as it was."""

import copy

import pytest
import torch
from torch import nn

from ardm.likelihood import nelbo
from ardm.masked_losses import Versions, masked_losses, row_numbers_of
from ardm.masking import order_uniforms
from ardm.networks import evaluating
from ardm.path_likelihood import log_prob
from ardm.stages import Stages
from ardm.step_losses import measure_step_losses
from ardm.target_rows import target_rows

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
    rows = target_rows(model, ids, attention_mask, prompt_mask)
    with evaluating(model):
        return masked_losses(rows, versions, seed, batch_size)


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


def test_no_version_costs_no_call(model):
    def silent(input_ids, attention_mask, logits_positions):
        raise AssertionError("called")

    silent.config = model.config
    nothing = torch.empty(0, dtype=torch.long)
    found = losses(silent, versions=Versions(nothing, nothing, nothing))
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
    for call in (nelbo, measure_step_losses, lambda *args: log_prob(*args, order="left_to_right")):
        with pytest.raises(RuntimeError, match="out of memory"):
            call(model, IDS[:1])
        assert all(module.training for module in model.modules())
