"""Every row's plan is spent exactly, inside its blocks, and what goes back is filled again."""

import itertools

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ardm import ARDMGenerationConfig
from ardm.assembly import make_resampling, plan_passes
from ardm.passes import Pass, make_passes, row_passes, row_plan
from ardm.plans import plan_cost
from ardm.resampling import RESAMPLE_ORDERS, Resampling

AFTER, BETWEEN = ("random", "least_confident"), ("remdm_cap", "remdm_rescale", "remdm_conf")
MASKS, BLOCK_LENGTH = st.integers(0, 20), st.none() | st.integers(1, 8)
FRACTION = st.floats(0.01, 1.0)
LAWS = settings(max_examples=60)


def block_sizes(masks, block_length):
    return [
        min(block_length or masks, masks - begin)
        for begin in range(0, masks, block_length or masks or 1)
    ]


def plan_of(masks, block_length=None, **settings):
    """Of a row with one stage."""
    return row_plan([block_sizes(masks, block_length)], **settings)


@st.composite
def amounts(draw, masks):
    """Settings of `plan_of` that fit a row of `masks`."""
    block_length = draw(BLOCK_LENGTH)
    blocks = len(block_sizes(masks, block_length))
    way = draw(st.sampled_from(["tokens_per_step", "steps", "plan", None]))
    if way == "plan" and masks:
        groups = []
        for size in block_sizes(masks, block_length):
            cuts = sorted(draw(st.sets(st.integers(1, size - 1)) if size > 1 else st.just(set())))
            groups += [end - begin for begin, end in itertools.pairwise([0, *cuts, size])]
        return {"plan": groups, "block_length": block_length}
    if way in (None, "plan"):
        return {"block_length": block_length}
    return {way: draw(st.integers(max(1, blocks), 25)), "block_length": block_length}


@st.composite
def rows(draw):
    """Plans of a ragged batch, block by block, and a resampling or None."""
    counts = draw(st.lists(MASKS, max_size=4))
    order = draw(st.sampled_from([None, *AFTER, *BETWEEN]))
    resampling = order and Resampling(
        draw(st.integers(1, 7)), draw(FRACTION), RESAMPLE_ORDERS[order]
    )
    return [plan_of(count, **draw(amounts(count))) for count in counts], resampling


def flat(blocks):
    return [size for block in blocks for size in block]


# ----------------------------------------------------------------------------------- one row's plan
@LAWS
@given(st.data(), MASKS)
def test_a_plan_fills_each_block_exactly(data, masks):
    options = data.draw(amounts(masks))
    plan = plan_of(masks, **options)
    sizes = block_sizes(masks, options["block_length"])
    assert [sum(block) for block in plan] == sizes
    assert all(size >= 1 for size in flat(plan))
    if "steps" in options:
        assert len(flat(plan)) == min(options["steps"], masks)
        assert all(max(block) - min(block) <= 1 for block in plan)  # evenly
    elif "plan" in options:
        assert flat(plan) == options["plan"]
    else:
        step = options.get("tokens_per_step", 1)
        assert plan == [
            [min(step, size - begin) for begin in range(0, size, step)] for size in sizes
        ]


@LAWS
@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(1, 8))
def test_an_explicit_plan_is_cut_at_the_blocks_or_refused(plan, block_length):
    masks, ends = sum(plan), list(itertools.accumulate(plan))
    if all(end in ends for end in itertools.accumulate(block_sizes(masks, block_length))):
        blocks = plan_of(masks, plan=plan, block_length=block_length)
        assert flat(blocks) == plan and list(map(sum, blocks)) == block_sizes(masks, block_length)
    else:
        with pytest.raises(ValueError, match="reaches over the end of a block"):
            plan_of(masks, plan=plan, block_length=block_length)
    for other in (masks - 1, masks + 1):
        with pytest.raises(ValueError, match=f"plan sums to {masks}; expected {other}"):
            plan_of(other, plan=plan)


@LAWS
@given(st.integers(1, 8), st.integers(1, 10), st.lists(st.floats(0, 5), min_size=8, max_size=10))
def test_the_optimal_plan_is_the_cheapest_one_of_the_tail(masks, steps, losses):
    losses = sorted(losses, reverse=True)
    (plan,) = plan_of(masks, plan="optimal", steps=steps, losses=losses)
    groups = min(steps, masks)
    assert len(plan) == groups and sum(plan) == masks
    tail = losses[len(losses) - masks :]
    cuts = itertools.combinations(range(1, masks), groups - 1)
    costs = [
        plan_cost(tail, [b - a for a, b in itertools.pairwise([0, *cut, masks])]) for cut in cuts
    ]
    assert plan_cost(tail, plan) == pytest.approx(min(costs), abs=1e-12)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="per_step_losses is not set"):
        plan_of(4, plan="optimal", steps=2)
    with pytest.raises(ValueError, match="per_step_losses has 3 steps; expected at least 4"):
        plan_of(4, plan="optimal", steps=2, losses=[3.0, 2.0, 1.0])
    with pytest.raises(
        ValueError, match="steps is 2; expected at least one for each of the 3 blocks"
    ):
        plan_of(9, steps=2, block_length=3)
    with pytest.raises(ValueError, match="plan sums to 1; expected 0"):
        plan_of(0, plan=[1])


# ---------------------------------------------------------------------------- the passes of one row
def number_between(order, fraction, known, hidden):
    """ReMDM's number by its definition: a share of the known tokens; rescale: of what is fewer."""
    if order is RESAMPLE_ORDERS["remdm_rescale"]:
        return max(1, round(fraction * min(known, hidden)))
    return min(max(1, round(fraction * known)), hidden)


@LAWS
@given(rows())
def test_following_the_passes_fills_block_after_block(batch):
    plans, resampling = batch
    for blocks in plans:
        passes, hidden = row_passes(blocks, resampling), list(map(sum, blocks))
        between = resampling is not None and resampling.between
        for back, fill, pool in passes:
            block = next(index for index, count in enumerate(hidden) if count)
            known = sum(blocks[block]) - hidden[block]
            if back:
                assert between and fill == back <= min(known, hidden[block])
                assert back == number_between(
                    resampling.order, resampling.fraction, known, hidden[block]
                )
            # no group over the end of a block
            assert pool == hidden[block] + back and 1 <= fill <= pool
            hidden[block] += back - fill
        assert not any(hidden)
        assert [fill for back, fill, _ in passes if not back] == flat(blocks)
        gaps = sum(len(block) - 1 for block in blocks)
        extra = sum(back > 0 for back, _, _ in passes)
        # a row of one step a block has no gap
        assert extra == (resampling.steps if between and gaps else 0)


@LAWS
@given(
    st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6), min_size=1, max_size=3),
    st.integers(1, 9),
)
def test_passes_between_the_steps_are_spread_evenly(blocks, steps):
    in_gap, gap = [], 0
    # steps after which a block is done: no gap lies there
    last = list(itertools.accumulate(map(len, blocks)))
    for back, _, _ in row_passes(blocks, Resampling(steps, 0.1, RESAMPLE_ORDERS["remdm_cap"])):
        if back:
            in_gap[-1] += 1
        else:
            gap += 1
            in_gap += [0] * (gap not in last)
    for first in range(len(in_gap) + 1):
        share = steps * first / max(len(in_gap), 1)
        assert abs(sum(in_gap[:first]) - share) < 1


# --------------------------------------------------------------------------------- all rows' tables
@LAWS
@given(rows())
def test_the_tables_add_up(batch):
    plans, resampling = batch
    passes = make_passes(plans, resampling)
    masks = torch.tensor([sum(flat(blocks)) for blocks in plans], dtype=torch.long)
    count = len(passes.widths)
    for table in (passes.back_BS, passes.fill_BS, passes.known_BS, passes.revision_BS):
        assert (
            table.shape == (len(plans), count) and table.dtype == torch.long and (table >= 0).all()
        )
    assert torch.equal(passes.fill_BS.sum(1), masks + passes.back_BS.sum(1))
    known = torch.zeros_like(masks)
    for number in range(count):
        back, fill = passes.back_BS[:, number], passes.fill_BS[:, number]
        assert (back <= known).all()  # nothing goes back that has not been generated
        known = known - back + fill
        assert torch.equal(passes.known_BS[:, number], known)
        assert torch.equal(
            passes.revision_BS[:, number], (passes.back_BS[:, : number + 1] > 0).sum(1)
        )
    assert torch.equal(known, masks) or not count
    # what the loop asks for on the host
    assert passes.widths == [int(fill.max()) for fill in passes.fill_BS.T]
    assert passes.revises == [bool(back.any()) for back in passes.back_BS.T]
    assert len(passes.pools) == count and all(
        p >= w >= 1 for p, w in zip(passes.pools, passes.widths, strict=True)
    )
    assert torch.equal(passes.to(torch.device("cpu")).known_BS, passes.known_BS)
    assert passes.to(torch.device("meta")).fill_BS.device.type == "meta"


@LAWS
@given(rows())
def test_a_rows_passes_are_its_own_and_it_waits_with_zeros(batch):
    plans, resampling = batch
    passes = make_passes(plans, resampling)
    longest = max((len(row_passes(blocks, resampling)) for blocks in plans), default=0)
    assert passes.num_planned == longest
    pools = []
    for row, blocks in enumerate(plans):
        expected = row_passes(blocks, resampling)
        expected += [Pass()] * (longest - len(expected))
        masks = sum(flat(blocks))
        if resampling is not None and not resampling.between and longest:
            number = min(masks, max(1, round(resampling.fraction * masks)))
            expected += [Pass(number, number, number)] * resampling.steps
        assert passes.back_BS[row].tolist() == [back for back, _, _ in expected]
        assert passes.fill_BS[row].tolist() == [fill for _, fill, _ in expected]
        pools.append([pool for _, _, pool in expected])
    assert passes.pools == [max(column) for column in zip(*pools, strict=True)]


@pytest.mark.parametrize(
    "resampling", [None, *(Resampling(3, 0.5, RESAMPLE_ORDERS[order]) for order in AFTER + BETWEEN)]
)
def test_without_masks_there_are_no_passes(resampling):
    for plans in ([], [[]], [[], []]):
        passes = make_passes(plans, resampling)
        assert (passes.widths, passes.pools, passes.revises, passes.num_planned) == ([], [], [], 0)
        assert passes.fill_BS.shape == passes.known_BS.shape == (len(plans), 0)


# -------------------------------------------------------------------------------- from the settings
@LAWS
@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 6), st.sampled_from(AFTER + BETWEEN))
def test_resampling_passes_count_in_the_steps(masks, steps, resample_steps, order):
    assume(order in AFTER or steps > 1 or not resample_steps)  # refused
    config = ARDMGenerationConfig(
        steps=steps + resample_steps,
        resample_steps=resample_steps,
        resample_order=order,
        resample_fraction=0.3,
    )
    resampling = make_resampling(config)
    passes = plan_passes(config, [[[masks]], [[]], [[masks]]], [masks, 0, masks], 1, resampling)
    planned = min(steps, masks)
    extra = resample_steps if order in AFTER or planned > 1 else 0
    assert len(passes.widths) == planned + extra
    assert torch.equal(passes.fill_BS[0], passes.fill_BS[2]) and not passes.fill_BS[1].any()


def test_each_row_has_the_best_plan_for_its_own_masks():
    losses = [4.0, 3.0, 1.0, 0.9, 0.5, 0.5, 0.1, 0.1]
    config = ARDMGenerationConfig(plan="optimal", steps=3, per_step_losses=losses)
    fill_BS = plan_passes(config, [[[8]], [[4]], [[2]], [[]]], [8, 4, 2, 0], 1, None).fill_BS
    assert fill_BS.tolist() == [[2, 2, 4], [1, 1, 2], [1, 1, 0], [0, 0, 0]]
