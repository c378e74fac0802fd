"""A plan's groups hold a position at least and sum to L; the optimal plan is the cheapest."""

import math
import time
from fractions import Fraction
from functools import partial
from itertools import combinations, pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from ardm import uniform_plan
from ardm.named_plans import blockwise_steps
from ardm.plans import (
    cosine_plan,
    fixed_size_plan,
    group_bounds,
    monotone_fit,
    optimal_plan,
    plan_cost,
    stage_plan,
)

NATS = st.just(0.0) | st.floats(1e-9, 20)
CURVES = st.lists(NATS, min_size=1, max_size=9)
FALLING = st.lists(NATS, min_size=1, max_size=40).map(lambda losses: sorted(losses, reverse=True))


def compositions(length, steps):
    """Every list of `steps` sizes, each at least 1, that sum to `length`."""
    for cuts in combinations(range(1, length), steps - 1):
        yield [end - start for start, end in pairwise([0, *cuts, length])]


@given(st.integers(1, 300), st.data())
def test_uniform_plan_is_even_with_the_larger_groups_last(length, data):
    steps = data.draw(st.integers(1, length))
    plan = uniform_plan(length, steps)
    assert len(plan) == steps and sum(plan) == length and all(type(size) is int for size in plan)
    assert min(plan) >= 1 and max(plan) - min(plan) <= 1
    # the partial sums are the closest whole numbers below the straight line: no run of large groups
    assert [sum(plan[:i]) for i in range(steps + 1)] == [
        length * i // steps for i in range(steps + 1)
    ]
    assert plan[-1] == max(plan)


def test_uniform_plan_of_the_ends():
    assert uniform_plan(0, 0) == []
    assert uniform_plan(7, 1) == [7]
    assert uniform_plan(7, 7) == [1] * 7
    for length, steps in ((7, 8), (7, 0), (7, -1), (0, 1)):
        with pytest.raises(ValueError, match=f"steps is {steps}"):
            uniform_plan(length, steps)


@given(st.integers(1, 400), st.data())
def test_cosine_plan_follows_the_cosine_as_soon_as_it_can(length, data):
    steps = data.draw(st.integers(1, length))
    plan = cosine_plan(length, steps)
    assert len(plan) == steps and sum(plan) == length and all(type(size) is int for size in plan)
    assert min(plan) >= 1
    # masked after i steps: the cosine's number, or less where a step had to generate one too early
    scheduled = [math.floor(length * math.cos(math.pi / 2 * (i / steps))) for i in range(steps + 1)]
    for i in range(steps + 1):
        assert length - sum(plan[:i]) == min(scheduled[j] - (i - j) for j in range(i + 1))
        assert sum(plan[:i]) <= math.ceil(length * i / steps)  # never ahead of the even split


def test_cosine_plan_of_the_ends():
    assert cosine_plan(0, 0) == []
    assert cosine_plan(7, 1) == [7]
    assert cosine_plan(7, 7) == [1] * 7
    assert cosine_plan(256, 8) == [5, 15, 24, 31, 39, 45, 48, 49]
    assert cosine_plan(300, 3)[2] == 150  # cos(pi/3) = 1/2
    for length, steps in ((7, 8), (7, 0), (7, -1), (0, 1)):
        with pytest.raises(
            ValueError, match=f"steps is {steps}; expected an integer in .*{length}"
        ):
            cosine_plan(length, steps)


@given(st.integers(0, 300), st.integers(1, 310))
def test_fixed_size_plan_has_one_smaller_group_at_most(length, size):
    plan = fixed_size_plan(length, size)
    assert sum(plan) == length and all(group == size for group in plan[:-1])
    assert not plan or 1 <= plan[-1] <= size
    assert len(plan) == -(-length // size)


def test_bad_plans_are_refused():
    with pytest.raises(ValueError, match="tokens_per_step is 0"):
        fixed_size_plan(5, 0)
    for plan, message in (
        ([1, 2], "sums to 3; expected 5"),
        ([5, 0], "at least 1"),
        ([6, -1], "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            stage_plan(plan, [5], "masks")
    with pytest.raises(ValueError, match="sums to 0"):
        stage_plan([], [5], "masks")
    assert stage_plan([2, 3], [5], "masks") == [2, 3] and stage_plan([], [0], "masks") == []
    assert stage_plan(torch.tensor([2, 3]), [5], "masks") == [2, 3]


@given(st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=5))
def test_group_bounds_are_the_partial_sums(plans):
    bounds = group_bounds(plans)
    steps = max(map(len, plans), default=0)
    assert bounds.shape == (len(plans), steps + 1) and bounds.dtype == torch.int64
    for plan, row in zip(plans, bounds.tolist(), strict=True):
        assert row == [sum(plan[:i]) for i in range(steps + 1)]


def test_optimal_plan_of_the_papers_code():
    losses = [5, 4, 3, 2.85, 2.80]  # google-research/autoregressive_diffusion
    plans = [optimal_plan(losses, steps) for steps in range(1, 6)]
    assert plans == [[5], [2, 3], [1, 1, 3], [1, 1, 1, 2], [1, 1, 1, 1, 1]]
    assert [plan_cost(losses, plan) for plan in plans] == pytest.approx(
        [25, 19, 18, 17.7, 17.65], abs=1e-12
    )


@given(CURVES)
def test_optimal_plan_is_the_cheapest_of_all(losses):
    fitted = monotone_fit(losses)
    for steps in range(1, len(losses) + 1):
        plan = optimal_plan(losses, steps)
        assert len(plan) == steps and min(plan) >= 1 and all(type(size) is int for size in plan)
        cheapest = min(plan_cost(fitted, other) for other in compositions(len(losses), steps))
        assert plan_cost(fitted, plan) == pytest.approx(cheapest, rel=1e-12, abs=1e-300)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9))
@example([3, 3, 2, 2, 2, 1, 1, 1, 1])
def test_optimal_plan_of_equals_has_the_larger_groups_late(losses):
    # whole numbers: the costs of the reference are exact as well
    losses = sorted(losses, reverse=True)
    for steps in range(1, len(losses) + 1):
        plans = list(compositions(len(losses), steps))
        cheapest = min(plan_cost(losses, plan) for plan in plans)
        ties = [plan for plan in plans if plan_cost(losses, plan) == cheapest]
        assert optimal_plan(losses, steps) == max(ties, key=lambda plan: plan[::-1])


def test_equal_losses_tie_exactly_though_their_sums_are_rounded():
    assert optimal_plan([0.1] * 30, 4) == [1, 1, 1, 27]
    assert optimal_plan([0.7] * 3 + [0.1] * 27, 3) == [1, 2, 27]
    assert optimal_plan([0.0] * 5, 2) == [1, 4]


@settings(max_examples=20)
@given(st.lists(st.integers(0, 1000), min_size=10, max_size=60), st.data())
def test_optimal_plan_agrees_with_the_quadratic_programme(losses, data):
    losses = sorted(losses, reverse=True)
    steps = data.draw(st.integers(1, len(losses)))
    costs = [0, *[math.inf] * len(losses)]
    for _ in range(steps):
        costs = [
            min((costs[s] + (t - s) * losses[s] for s in range(t)), default=math.inf)
            for t in range(len(losses) + 1)
        ]
    assert plan_cost(losses, optimal_plan(losses, steps)) == costs[-1]


@given(FALLING)
def test_optimal_plan_beats_the_others_and_gains_ever_less_by_more_steps(losses):
    budgets = range(1, len(losses) + 1)
    costs = [plan_cost(losses, optimal_plan(losses, steps)) for steps in budgets]
    slack = 1e-9
    for other in (uniform_plan, cosine_plan):
        assert all(
            cost <= plan_cost(losses, other(len(losses), steps)) + slack
            for steps, cost in zip(budgets, costs, strict=True)
        )
    gains = [before - after for before, after in pairwise(costs)]
    assert all(gain >= -slack for gain in gains)
    assert all(earlier >= later - slack for earlier, later in pairwise(gains))
    assert costs[0] == pytest.approx(len(losses) * losses[0], abs=slack)
    assert costs[-1] == pytest.approx(math.fsum(losses), abs=slack)


def test_optimal_plan_does_not_exploit_noise():
    losses = [4.0, 1.0, 4.0, 4.0, 4.0, 2.0, 2.0, 2.0]  # a start at 1 would seem to cost 4 + 7 * 1
    assert optimal_plan(losses, 2) == optimal_plan(monotone_fit(losses), 2) == [5, 3]


@given(CURVES, st.sampled_from([2.0**-40, 2.0**30]))
def test_optimal_plan_is_deterministic_and_of_no_unit_or_type(losses, unit):
    for steps in range(1, len(losses) + 1):
        plan = optimal_plan(losses, steps)
        tensor = torch.tensor(losses, dtype=torch.float64, requires_grad=True)
        assert (
            plan
            == optimal_plan(losses, steps)
            == optimal_plan(tensor, steps)
            == optimal_plan(tuple(losses), steps)
        )
        assert plan == optimal_plan([loss * unit for loss in losses], steps)
        assert plan == optimal_plan(np.array(losses[::-1])[::-1], steps)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "steps", "seconds"), [(3072, 50, 2), (16384, 100, 20)])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_optimal_plan_is_quick(length, steps, seconds, noise):
    curve = 3 * torch.exp(-torch.arange(length) / length) + noise * torch.randn(length)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.perf_counter()
        plan = optimal_plan(curve, steps)
        assert time.perf_counter() - start < seconds
    finally:
        torch.set_num_threads(threads)
    assert len(plan) == steps and sum(plan) == length and min(plan) >= 1


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=50))
def test_monotone_fit_is_isotonic_regression(losses):
    fitted = monotone_fit(losses)
    expected = IsotonicRegression(increasing=False).fit_transform(
        np.arange(len(losses)), np.array(losses)
    )
    assert np.abs(np.array(fitted) - expected).max() <= 1e-12
    assert all(before >= after for before, after in pairwise(fitted))
    assert monotone_fit(fitted) == fitted
    assert math.fsum(fitted) == pytest.approx(math.fsum(losses), abs=1e-9)


@pytest.mark.parametrize("slope", [-3.0, 0.0, 3.0])
def test_monotone_fit_of_a_long_noisy_curve(slope):
    losses = (
        5
        + slope * torch.linspace(0, 1, 5000, dtype=torch.float64)
        + torch.randn(5000, dtype=torch.float64)
    )
    expected = IsotonicRegression(increasing=False).fit_transform(np.arange(5000), losses.numpy())
    assert np.abs(np.array(monotone_fit(losses)) - expected).max() <= 1e-12


@given(FALLING)
def test_monotone_fit_leaves_a_falling_curve_alone(losses):
    assert monotone_fit(losses) == losses


@given(CURVES, st.data())
def test_plan_cost_charges_every_position_its_groups_start(losses, data):
    plan = data.draw(
        st.sampled_from(list(compositions(len(losses), data.draw(st.integers(1, len(losses))))))
    )
    starts = [
        start for start, size in zip(np.cumsum([0, *plan]), plan, strict=False) for _ in range(size)
    ]
    assert plan_cost(losses, plan) == pytest.approx(
        sum(losses[start] for start in starts), abs=1e-12
    )
    assert plan_cost(torch.tensor(losses, dtype=torch.float64), torch.tensor(plan)) == plan_cost(
        losses, plan
    )


def test_plan_cost_takes_the_losses_as_they_are():
    assert plan_cost([1.0, 3.0, 2.0], [1, 2]) == 7.0
    assert type(plan_cost([1, 3], [2])) is float


@pytest.mark.parametrize(
    "function", [lambda x: optimal_plan(x, 1), lambda x: plan_cost(x, [1]), monotone_fit]
)
def test_losses_that_are_no_curve_are_refused(function):
    for losses, shape in (
        ([], r"\(0,\)"),
        (torch.tensor(1.0), r"\(\)"),
        (torch.ones(2, 3, 1), r"\(2, 3, 1\)"),
        ([[[1.0], [2.0]]], r"\((1, )?2, 1\)"),
    ):
        with pytest.raises(ValueError, match=f"losses has shape {shape}; expected"):
            function(losses)


def test_bad_budgets_and_plans_of_losses_are_refused():
    for steps in (-1, 0, 4):
        with pytest.raises(
            ValueError, match=rf"steps is {steps}; expected an integer in 1\.\.3 for 3 positions"
        ):
            optimal_plan([3.0, 2.0, 1.0], steps)
    for steps in (1.5, "2", True, None):
        for budget in (
            lambda n: optimal_plan([3.0, 2.0, 1.0], n),
            partial(uniform_plan, 3),
            partial(cosine_plan, 3),
        ):
            with pytest.raises(
                ValueError, match=rf"steps is {steps!r}; expected an integer in 1\.\.3"
            ):
                budget(steps)
    # log-probabilities in place of losses; the fit alone would hide a single one
    with pytest.raises(ValueError, match=r"losses\[1\] is -1.0; expected nats, at least 0"):
        optimal_plan([2.0, -1.0, 5.0], 2)
    with pytest.raises(ValueError, match="sums to 4; expected 3, the number of losses"):
        plan_cost([3.0, 2.0, 1.0], [2, 2])
    with pytest.raises(ValueError, match="at least 1"):
        plan_cost([3.0, 2.0, 1.0], [3, 0])


@given(st.lists(st.integers(1, 30), max_size=8), st.data())
def test_blockwise_steps_go_to_the_block_with_the_most_positions_a_step(sizes, data):
    steps = data.draw(st.integers(len(sizes), sum(sizes) + 3))
    expected = [1] * len(sizes)
    while sum(expected) < min(steps, sum(sizes)):
        ratios = [
            (Fraction(size, share), block)
            for block, (size, share) in enumerate(zip(sizes, expected, strict=True))
        ]
        expected[max(ratios)[1]] += 1
    allotted = blockwise_steps(sizes, steps)
    assert allotted == expected and sum(allotted) == min(steps, sum(sizes))
    assert all(1 <= share <= size for share, size in zip(allotted, sizes, strict=True))


def test_blockwise_steps_of_the_ends():
    assert blockwise_steps([], 0) == blockwise_steps([], 5) == []
    assert blockwise_steps([4, 4, 4], 4) == [1, 1, 2]  # equals: the later one
    assert blockwise_steps([8, 2], 5) == [4, 1]
    assert blockwise_steps([3, 1], 100) == [3, 1]
    with pytest.raises(
        ValueError, match=r"^steps is 2; expected at least one for each of the 3 blocks\.$"
    ):
        blockwise_steps([4, 4, 4], 2)
    with pytest.raises(ValueError, match=r"sizes is \[4, 0\]; expected every block"):
        blockwise_steps([4, 0], 4)


# -------------------------------------------------------------------------------- of several stages
STAGES = st.lists(st.lists(NATS, min_size=1, max_size=4), min_size=1, max_size=3)


def all_plans(lengths, steps):
    """Every list of plans, one a stage, of so many groups in all."""
    for shares in product(*(range(1, length + 1) for length in lengths)):
        if sum(shares) == steps:
            yield from product(*map(compositions, lengths, shares))


@given(STAGES)
def test_steps_are_shared_among_stages_so_that_the_whole_is_the_cheapest(curves):
    fitted = [monotone_fit(curve) for curve in curves]
    lengths = [*map(len, curves)]
    for steps in range(len(curves), sum(lengths) + 1):
        plans = optimal_plan(curves, steps)
        assert sum(map(len, plans)) == steps and [*map(sum, plans)] == lengths
        cheapest = min(sum(map(plan_cost, fitted, other)) for other in all_plans(lengths, steps))
        assert plan_cost(fitted, plans) == pytest.approx(cheapest, rel=1e-12, abs=1e-300)
        assert plans == optimal_plan(curves, [*map(len, plans)])


def test_losses_of_stages_are_a_tensor_or_lists():
    curves = [[3.0, 1.0, 0.5], [2.0, 2.0, 0.0]]
    plans = optimal_plan(curves, 4)
    assert plans == [[1, 2], [2, 1]] and all(type(k) is int for plan in plans for k in plan)
    for losses in (curves, torch.tensor(curves), tuple(map(tuple, curves))):
        assert optimal_plan(losses, 4) == optimal_plan(losses, [2, 2]) == plans
        assert plan_cost(losses, plans) == plan_cost(losses, [1, 2, 2, 1]) == 3 + 2 + 4 + 0
        assert plan_cost(losses, [1, 2]) == 5 + 2 + 4
        assert plan_cost(losses, [3]) == plan_cost(losses, [[3], [3]]) == 9 + 6
    assert optimal_plan([curves[0]], 2) == [[1, 2]] and optimal_plan(curves[0], 2) == [1, 2]


def test_budgets_and_plans_that_do_not_fit_the_stages_are_refused():
    curves = [[3.0, 1.0], [2.0, 1.0, 0.0]]
    for steps, message in (
        (1, r"steps is 1; expected an integer in 2\.\.5 for 5 positions"),
        ([2], r"steps is \[2\]; expected 2 numbers, one a stage"),
        ([3, 1], r"steps is 3; expected an integer in 1\.\.2 for 2 positions"),
    ):
        with pytest.raises(ValueError, match=message):
            optimal_plan(curves, steps)
    for plan in ([1, 4], [3, 2], [[1, 1], [1, 1]], [[1, 2], [1, 1]], [2], [5], [[2], [3], [1]]):
        with pytest.raises(ValueError, match=r"plan sums to .*; expected 2 \+ 3, the n|plan has 3"):
            plan_cost(curves, plan)


def test_an_explicit_plan_is_read_stage_by_stage():
    for plan, lengths, sizes in (
        ([2, 1, 3], [3, 3], [2, 1, 3]),
        ([2, 1], [3, 3], [2, 1, 2, 1]),
        (torch.tensor([[2, 1], [1, 2]]), [3, 3], [2, 1, 1, 2]),
        ([[], [3]], [0, 3], [3]),  # a stage that is known already
        ([1, 2], [0, 3], [1, 2]),
    ):
        assert stage_plan(plan, lengths, "masks") == sizes
    assert stage_plan([[2, 1], [1, 2]], [6], "masks", 2) == [2, 1, 1, 2]  # they may overlap
    with pytest.raises(ValueError, match=r"to 5; expected 2 \+ 3, the number of masks, stage by"):
        stage_plan([1, 2, 2], [2, 3], "masks")
