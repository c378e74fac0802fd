"""A plan's groups hold at least one position and sum to the number of positions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ardm import uniform_plan
from ardm.plans import check_plan, fixed_size_plan, group_bounds


@given(st.integers(1, 300), st.data())
def test_uniform_plan_is_even_with_the_larger_groups_last(length, data):
    steps = data.draw(st.integers(1, length))
    plan = uniform_plan(length, steps)
    assert len(plan) == steps and sum(plan) == length and all(type(size) is int for size in plan)
    assert min(plan) >= 1 and max(plan) - min(plan) <= 1
    # the partial sums are the closest whole numbers below the straight line: no run of large groups
    assert [sum(plan[:i]) for i in range(steps + 1)] == [length * i // steps for i in range(steps + 1)]
    assert plan[-1] == max(plan)


def test_uniform_plan_of_the_ends():
    assert uniform_plan(0, 0) == []
    assert uniform_plan(7, 1) == [7]
    assert uniform_plan(7, 7) == [1] * 7
    for length, steps in ((7, 8), (7, 0), (7, -1), (0, 1)):
        with pytest.raises(ValueError, match=f"steps is {steps}"):
            uniform_plan(length, steps)


@given(st.integers(0, 300), st.integers(1, 310))
def test_fixed_size_plan_has_one_smaller_group_at_most(length, size):
    plan = fixed_size_plan(length, size)
    assert sum(plan) == length and all(group == size for group in plan[:-1])
    assert not plan or 1 <= plan[-1] <= size
    assert len(plan) == -(-length // size)


def test_bad_plans_are_refused():
    with pytest.raises(ValueError, match="tokens_per_step is 0"):
        fixed_size_plan(5, 0)
    for plan, message in (([1, 2], "sums to 3; expected 5"), ([5, 0], "at least 1"), ([6, -1], "at least 1")):
        with pytest.raises(ValueError, match=message):
            check_plan(plan, 5)
    with pytest.raises(ValueError, match="sums to 0"):
        check_plan([], 5)
    assert check_plan([2, 3], 5) == [2, 3] and check_plan([], 0) == []
    assert check_plan(torch.tensor([2, 3]), 5) == [2, 3]


@given(st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=5))
def test_group_bounds_are_the_partial_sums(plans):
    bounds = group_bounds(plans)
    steps = max(map(len, plans), default=0)
    assert bounds.shape == (len(plans), steps + 1) and bounds.dtype == torch.int64
    for plan, row in zip(plans, bounds.tolist(), strict=True):
        assert row == [sum(plan[:i]) for i in range(steps + 1)]
