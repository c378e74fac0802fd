"""Exactly so many generated tokens go back, never a given one, and which ones follows the law."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ardm.canvas import Canvas
from ardm.inputs import row_streams
from ardm.resampling import RESAMPLE_ORDERS, Resampling
from ardm.stages import Stages

MASK, PAD = 3, 4
AFTER, BETWEEN = ("random", "least_confident"), ("remdm_cap", "remdm_rescale", "remdm_conf")
LAWS = settings(max_examples=60)


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model(
        vocab_size=5, mask_token_id=MASK, pad_token_id=PAD, max_position_embeddings=12
    )


def test_which_lie_between_the_steps():
    assert tuple(RESAMPLE_ORDERS) == AFTER + BETWEEN
    assert [Resampling(1, 0.1, RESAMPLE_ORDERS[order]).between for order in RESAMPLE_ORDERS] == [
        False,
        False,
        True,
        True,
        True,
    ]


@settings(max_examples=200)
@given(st.integers(0, 50), st.integers(1, 50), st.floats(1e-3, 1.0))
def test_the_number_is_the_share_within_its_bounds(known, hidden, fraction):
    for order in AFTER:
        number = Resampling(1, fraction, RESAMPLE_ORDERS[order]).number(known, 0)
        assert number == (max(1, round(fraction * known)) if known else 0)
        assert number <= known
    for order in BETWEEN if known else ():
        number = Resampling(1, fraction, RESAMPLE_ORDERS[order]).number(known, hidden)
        few = min(known, hidden)
        assert 1 <= number <= few  # as many are drawn again as go back, and no more than are hidden
        share = fraction * (few if order == "remdm_rescale" else known)
        assert number == max(1, round(share)) or (
            order != "remdm_rescale" and number == hidden < share + 1
        )


def test_the_default_share_sends_back_a_tenth():
    numbers = {
        order: Resampling(1, 0.1, RESAMPLE_ORDERS[order]).number(90, 6) for order in RESAMPLE_ORDERS
    }
    assert numbers == {
        "random": 9,
        "least_confident": 9,
        "remdm_cap": 6,
        "remdm_rescale": 1,
        "remdm_conf": 6,
    }


# ------------------------------------------------------------------------------------ which go back
def half_done(batch, length, seed, block_length=None):
    """A canvas with given tokens and padding on both sides, some masks of which are written."""
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(0, length + 1, (2, batch, 1), generator=generator).sort(0).values
    real = (torch.arange(length) >= edges[0]) & (torch.arange(length) < edges[1])
    ids = torch.randint(0, MASK, (batch, length), generator=generator)
    ids[torch.rand(batch, length, generator=generator) < 0.7] = MASK
    canvas = Canvas(
        ids.masked_fill(~real, PAD),
        real,
        Stages.plain(MASK),
        row_streams(seed, None, 1, batch),
        "random",
        block_length,
    )
    written = canvas.hidden_BL & (torch.rand(batch, length, generator=generator) < 0.6)
    if block_length is not None:  # whole blocks, and a part of the next
        written |= canvas.hidden_BL & (
            canvas.block_BL < torch.randint(0, 3, (batch, 1), generator=generator)
        )
        first = canvas.block_BL.masked_fill(~canvas.hidden_BL | written, length).amin(
            1, keepdim=True
        )
        written &= canvas.block_BL <= first
    canvas.ids = canvas.ids.masked_fill(written, 1)
    canvas.hidden_BL = canvas.hidden_BL & ~written
    # sent back some time before
    erased = canvas.hidden_BL & (torch.rand(batch, length, generator=generator) < 0.5)
    canvas.order_BL = canvas.order_BL.masked_fill(written | erased, 0)
    log_probs = -torch.rand(batch, length, generator=generator, dtype=torch.float64)
    canvas.log_probs_BR = log_probs.masked_fill(~written, 0.0)
    return canvas, written


@LAWS
@given(
    st.sampled_from(AFTER + BETWEEN), st.integers(1, 3), st.integers(1, 8), st.integers(0, 2**31)
)
def test_exactly_so_many_generated_tokens_go_back(order, batch, length, seed):
    canvas, written = half_done(batch, length, seed)
    torch.manual_seed(seed)
    number, revision = torch.randint(0, length + 2, (batch, 1)), torch.randint(1, 3, (batch, 1))
    back = Resampling(1, 0.1, RESAMPLE_ORDERS[order]).positions(canvas, number, revision)
    assert back.shape == written.shape and back.dtype == torch.bool
    assert not (back & ~written).any()  # never a given token, padding, or what is hidden anyway
    assert torch.equal(
        back.sum(1, keepdim=True), torch.minimum(number, written.sum(1, keepdim=True))
    )
    for row in range(batch):  # a row's choice is its own
        real = canvas.real_BL[row]
        alone = Canvas(
            canvas.ids[row : row + 1, real],
            real[real][None],
            Stages.plain(MASK),
            (torch.tensor([seed]), torch.tensor([row])),
            "random",
        )
        alone.order_BL = canvas.order_BL[row : row + 1, real]
        alone.hidden_BL = canvas.hidden_BL[row : row + 1, real]
        alone.given_level_BL = canvas.given_level_BL[row : row + 1, real]
        alone.log_probs_BR = canvas.log_probs_BR[row : row + 1, real]
        other = Resampling(1, 0.1, RESAMPLE_ORDERS[order]).positions(
            alone, number[row : row + 1], revision[row : row + 1]
        )
        assert torch.equal(other[0], back[row, real])


@LAWS
@given(st.sampled_from(AFTER + BETWEEN), st.integers(1, 3), st.integers(0, 2**31))
def test_between_the_steps_only_the_active_block_is_revised(order, block_length, seed):
    canvas, written = half_done(3, 9, seed, block_length)
    number = torch.full((3, 1), 9)
    back = Resampling(1, 0.1, RESAMPLE_ORDERS[order]).positions(
        canvas, number, torch.ones_like(number)
    )
    if order in AFTER:
        assert torch.equal(back, written)
        return
    for row in range(3):
        masks = ((canvas.hidden_BL | written)[row]).nonzero()[:, 0].tolist()
        blocks = [
            masks[begin : begin + block_length] for begin in range(0, len(masks), block_length)
        ]
        active = next((block for block in blocks if canvas.hidden_BL[row, block].any()), [])
        assert back[row].nonzero()[:, 0].tolist() == [p for p in active if written[row, p]]


@LAWS
@given(st.integers(1, 8), st.integers(0, 4), st.integers(0, 2**31))
def test_the_least_confident_are_those_of_the_lowest_probability(length, number, seed):
    canvas, written = half_done(2, length, seed)
    if seed % 2:  # ties go by position
        canvas.log_probs_BR = canvas.log_probs_BL.mul(3).round().div(3)
    numbers = torch.full((2, 1), number)
    back = Resampling(1, 0.1, RESAMPLE_ORDERS["least_confident"]).positions(
        canvas, numbers, torch.ones_like(numbers)
    )
    for row in range(2):
        positions = written[row].nonzero()[:, 0].tolist()
        lowest = sorted(positions, key=lambda p, row=row: (float(canvas.log_probs_BL[row, p]), p))
        assert sorted(back[row].nonzero()[:, 0].tolist()) == sorted(lowest[:number])


def chosen(order, log_probs, number, revision=1, rows=6000):
    """What goes back in many rows of one state: two tokens given, three written, one hidden."""
    ids = torch.tensor([0, MASK, MASK, 1, MASK, MASK]).expand(rows, -1).clone()
    canvas = Canvas(
        ids,
        torch.ones_like(ids, dtype=torch.bool),
        Stages.plain(MASK),
        row_streams(3, None, 1, rows),
        "random",
    )
    for position, log_prob in zip((1, 2, 4), log_probs, strict=True):
        canvas.ids[:, position] = 0
        canvas.hidden_BL[:, position] = False
        canvas.order_BL[:, position] = 0
        canvas.log_probs_BR[:, position] = log_prob
    numbers = torch.full((rows, 1), number)
    return Resampling(1, 0.1, RESAMPLE_ORDERS[order]).positions(
        canvas, numbers, torch.full_like(numbers, revision)
    )


PROBS = torch.tensor([0.9, 0.02, 0.4], dtype=torch.float64)


@pytest.mark.parametrize("order", ["random", "remdm_cap", "remdm_rescale", "remdm_conf"])
def test_the_law_of_what_goes_back(order):
    weights = (
        (-PROBS).softmax(0)
        if order == "remdm_conf"
        else torch.full((3,), 1 / 3, dtype=torch.float64)
    )
    one, two = (chosen(order, PROBS.log(), number)[:, [1, 2, 4]] for number in (1, 2))
    assert stats.chisquare(one.sum(0), (weights * len(one)).numpy()).pvalue > 1e-3
    # two are drawn one after the other, without replacement
    pairs = torch.zeros(3, dtype=torch.float64)  # by the one that stays
    for i, j in itertools.permutations(range(3), 2):
        pairs[3 - i - j] += weights[i] * weights[j] / (1 - weights[i])
    assert stats.chisquare((~two).sum(0), (pairs * len(two)).numpy()).pvalue > 1e-3
    if order == "remdm_conf":  # the test can tell
        assert stats.chisquare(one.sum(0), torch.full((3,), len(one) / 3).numpy()).pvalue < 1e-6


@pytest.mark.parametrize("order", ["random", "remdm_cap", "remdm_rescale", "remdm_conf"])
def test_every_revision_draws_anew(order):
    first, second = (
        chosen(order, PROBS.log() * 0, 1, revision)[:, [1, 2, 4]].long().argmax(1)
        for revision in (1, 2)
    )
    table = torch.stack(
        [((first == i) & (second == j)).sum() for i in range(3) for j in range(3)]
    ).reshape(3, 3)
    assert stats.chi2_contingency(table.numpy()).pvalue > 1e-3


# --------------------------------------------------------------------------------- through generate
IDS = torch.tensor(
    [
        [PAD, 0, MASK, MASK, 1, MASK, MASK, MASK],
        [MASK, MASK, 2, MASK, PAD, PAD, PAD, PAD],
        [0, 1, 2, 0, 1, 2, 0, 1],
        [0, MASK, 2, PAD, PAD, PAD, PAD, PAD],
    ]
)


@pytest.mark.parametrize("order", AFTER)
@pytest.mark.parametrize("fraction", [0.01, 0.5, 1.0])
def test_each_pass_after_the_last_step_draws_its_share_again(model, order, fraction):
    settings = {
        "tokens_per_step": 2,
        "seed": [1, 2, 3, 4],
        "return_dict_in_generate": True,
        "output_history": True,
    }
    before = model.generate(IDS, **settings)
    masks = (IDS == MASK).sum(1)
    for steps in (1, 3):
        out = model.generate(
            IDS, resample_steps=steps, resample_fraction=fraction, resample_order=order, **settings
        )
        assert out.num_forward_passes == before.num_forward_passes + steps
        assert torch.equal(out.history[before.num_forward_passes - 1], before.sequences)
        last = out.order.amax(1, keepdim=True)
        again = (out.order == last) & (masks > 0)[:, None]
        assert again.sum(1).tolist() == [
            min(int(m), max(1, round(fraction * int(m)))) if m else 0 for m in masks
        ]
        # a row counts its own steps, whatever its neighbours do
        assert last[:, 0].tolist() == [(int(m) + 1) // 2 + steps - 1 if m else -1 for m in masks]
        if steps == 1 and order == "least_confident":
            kept = (before.order >= 0) & ~again
            for row in range(len(IDS)):
                worst = before.log_probs[row][again[row]]
                assert (
                    not worst.numel()
                    or not kept[row].any()
                    or worst.max() <= before.log_probs[row][kept[row]].min()
                )


@pytest.mark.parametrize("order", BETWEEN)
@pytest.mark.parametrize("block_length", [None, 2])
def test_between_the_steps_as_many_are_drawn_as_go_back(model, order, block_length):
    settings = {
        "resample_steps": 3,
        "resample_fraction": 0.6,
        "resample_order": order,
        "block_length": block_length,
    }
    out = model.generate(
        IDS, seed=[1, 2, 3, 4], return_dict_in_generate=True, output_history=True, **settings
    )
    hidden = torch.stack([(canvas == MASK).sum(1) for canvas in (IDS, *out.history)])
    change = hidden[1:] - hidden[:-1]
    # -1: a step of the plan; 0: what went back was replaced, or the row waits
    assert (change <= 0).all()
    steps = out.order.amax(1) + 1
    for row, masks in enumerate((IDS == MASK).sum(1).tolist()):
        assert (change[:, row] == -1).sum() == masks
        assert steps[row] == masks + (3 if masks > 1 else 0)
    given = (IDS != MASK).expand(len(out.history), -1, -1)
    assert torch.equal(torch.stack(out.history)[given], IDS.expand_as(given)[given])


@pytest.mark.parametrize("order", AFTER)
def test_a_text_that_is_all_sent_back_is_another_text(model, order):
    """With the same numbers a constant model would write the same tokens again."""
    ids = torch.full((20, 12), MASK)
    constant = type(model)(model.config).eval()
    settings = {"resample_fraction": 1.0, "resample_order": order, "tokens_per_step": 12, "seed": 1}
    texts = [constant.generate(ids, resample_steps=steps, **settings) for steps in range(4)]
    for one, other in itertools.combinations(texts, 2):
        same = int((one == other).sum())
        # as alike as independent draws
        assert stats.binomtest(same, ids.numel(), 1 / 3).pvalue > 1e-3
    assert torch.equal(constant.generate(ids[:5], resample_steps=2, **settings), texts[2][:5])
