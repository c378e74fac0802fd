"""A named plan spends all masks in at most as many groups as steps, by the rule of its name."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ardm.named_plans import (
    CLOCKS,
    PLAN_NAMES,
    SPLITS,
    binomial_plan,
    larger_first_plan,
    linear_time_plan,
)
from ardm.passes import row_plan

from .rows import MASK, full, masks


def test_the_names():
    assert (*SPLITS, *CLOCKS, "optimal") == PLAN_NAMES


@given(st.integers(0, 30), st.integers(1, 40), st.sampled_from([*SPLITS, *CLOCKS]))
def test_a_plan_spends_all_masks_in_at_most_that_many_groups(length, steps, name):
    uniforms = torch.rand(length, dtype=torch.float64)
    blocks = row_plan([[length] * bool(length)], plan=name, steps=steps, uniforms=uniforms)
    groups = [size for block in blocks for size in block]
    assert sum(groups) == length and all(size >= 1 for size in groups)
    assert len(groups) <= min(steps, length)
    if name in SPLITS:
        assert len(groups) == min(steps, length)


@given(st.integers(1, 30), st.integers(1, 8), st.sampled_from([*SPLITS, *CLOCKS]), st.data())
def test_no_group_reaches_over_a_block(length, block_length, name, data):
    sizes = [min(block_length, length - i) for i in range(0, length, block_length)]
    steps = data.draw(st.integers(len(sizes), 40))
    uniforms = torch.rand(length, dtype=torch.float64)
    settings = {"plan": name, "uniforms": uniforms}
    assert [sum(block) for block in row_plan([sizes], steps=steps, **settings)] == sizes
    if len(sizes) > 1:
        with pytest.raises(ValueError, match="steps is"):
            row_plan([sizes], steps=len(sizes) - 1, **settings)


def test_larger_groups_first():
    for length, steps in itertools.product(range(1, 12), range(1, 12)):
        if steps <= length:
            base, more = divmod(length, steps)
            assert larger_first_plan(length, steps) == [base + 1] * more + [base] * (steps - more)


@pytest.mark.parametrize("eps", [1e-3, 1e-5])
@pytest.mark.parametrize("length", [1, 7, 32, 256])
def test_linear_time_rounds_down_the_share_of_each_tick(length, eps):
    for steps in (1, 2, 5, 32, 256, 512):
        left = length
        expected = []
        for i in range(steps):
            before = torch.linspace(1, eps, steps + 1)[i]
            after = torch.linspace(1, eps, steps + 1)[i + 1]
            share = torch.tensor(float(left)) * (1 - after / before)
            expected.append(math.floor(float(share)) if i < steps - 1 else left)
            left -= expected[-1]
        assert linear_time_plan(length, steps, eps) == [size for size in expected if size]


def test_as_many_ticks_as_positions_lose_the_first_one():
    assert linear_time_plan(64, 64) == [1] * 62 + [2]


def test_each_tick_fills_a_binomial_number():
    """Enumerated: with 3 positions and 2 ticks, 0..3 of them come first with chances 1 3 3 1."""
    ticks = torch.tensor(list(itertools.product([0.25, 0.75], repeat=3)), dtype=torch.float64)
    plans = [tuple(binomial_plan(row, 2)) for row in ticks]
    assert sorted(plans) == sorted([(3,), (3,), *[(1, 2)] * 3, *[(2, 1)] * 3])
    assert binomial_plan(torch.tensor([0.0, 1 - 2.0**-52], dtype=torch.float64), 7) == [1, 1]
    assert binomial_plan(torch.empty(0, dtype=torch.float64), 7) == []


def test_a_binomial_plan_is_of_its_row_alone(plain):
    out = full(plain, masks(300, 4), plan="binomial", steps=2, seed=1)
    first = (out.order == 0).sum(1).bincount(minlength=5).double() / 300
    # 4 of 4 where either tick is empty: the other one is then the first step
    expected = torch.tensor([0, 4 / 16, 6 / 16, 4 / 16, 2 / 16], dtype=torch.float64)
    assert (first - expected).abs().max() < 0.1
    alone = full(plain, masks(1, 4), plan="binomial", steps=2, seed=1)
    assert torch.equal(alone.order[0], out.order[0])
    assert not (out.sequences == MASK).any()


@pytest.mark.parametrize("steps", [0, -1, 2.5, True, 10**30])
def test_a_number_of_ticks_is_checked(steps):
    with pytest.raises(ValueError, match="steps is"):
        linear_time_plan(5, steps)
