"""Costs of groups where stages are interleaved, by counting, and the plan that is cheapest."""

import itertools

import pytest
import torch

from ardm import optimal_plan, plan_cost
from ardm.group_costs import (
    expected_positions,
    group_cost,
    mean_losses,
    num_stages_of,
    optimal_group_plan,
    pairs_of,
    plan_group_cost,
    reach_probability,
)


def number(value):
    return torch.tensor(float(value), dtype=torch.float64)


@pytest.mark.parametrize(("total", "left"), [(6, 1), (6, 2), (7, 3), (3, 3)])
def test_reach_is_the_share_of_all_groups(total, left):
    for size in range(total + 1):
        groups = [*itertools.combinations(range(total), size)]
        for turn in range(1, left + 1):
            reached = sum(sum(cell < left for cell in group) >= turn for group in groups)
            found = reach_probability(number(total), number(size), left, turn)
            assert float(found) == pytest.approx(reached / len(groups), abs=1e-12)


@pytest.mark.parametrize(("num_positions", "num_stages"), [(3, 2), (2, 3), (4, 1)])
def test_expected_positions_are_the_mean_over_all_sets_of_reveals(num_positions, num_stages):
    total = num_positions * num_stages
    for made in range(total + 1):
        sets = [*itertools.combinations(range(total), made)]
        for left in range(num_stages + 1):
            counts = [
                sum(
                    sum(cell % num_positions == p for cell in one) == num_stages - left
                    for p in range(num_positions)
                )
                for one in sets
            ]
            found = expected_positions(total, num_stages, number(made), left)
            assert float(found) == pytest.approx(sum(counts) / len(sets), abs=1e-12)


def table_of(num_positions, num_stages, seed=0):
    """Means that fall with s, times the expected numbers of positions."""
    generator = torch.Generator().manual_seed(seed)
    total = num_positions * num_stages
    pairs = pairs_of(num_stages)
    means = torch.rand(total, len(pairs), generator=generator, dtype=torch.float64)
    means = means.sort(0, descending=True).values
    made = torch.arange(total, dtype=torch.float64)
    numbers = [expected_positions(total, num_stages, made, left) for left, _ in pairs]
    return means, means * torch.stack(numbers, 1)


@pytest.mark.parametrize("num_stages", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_the_plan_is_the_cheapest_of_all(num_stages, steps):
    means, table = table_of(6 // num_stages, num_stages)
    total = len(table)
    cuts = itertools.combinations(range(1, total), steps - 1)
    plans = [[b - a for a, b in itertools.pairwise((0, *cut, total))] for cut in cuts]
    least = min(float(plan_group_cost(table, plan)) for plan in plans)
    plan = optimal_group_plan(means, steps)
    assert len(plan) == steps and sum(plan) == total
    assert float(plan_group_cost(table, plan)) == pytest.approx(least, abs=1e-12)


def test_one_stage_is_the_plain_cost():
    means, table = table_of(7, 1)
    losses = means[:, 0]
    for plan in ([7], [1, 2, 4], [1] * 7):
        assert float(plan_group_cost(table, plan)) == pytest.approx(plan_cost(losses, plan))
    for steps in range(1, 8):
        found = plan_cost(losses, optimal_group_plan(means, steps))
        assert found == pytest.approx(plan_cost(losses, optimal_plan(losses, steps)))


def test_all_at_once_costs_all_reveals_of_the_first_call():
    _, table = table_of(3, 2)
    everything = sum(
        float(table[0, column]) for column, (left, _) in enumerate(pairs_of(2)) if left == 2
    )
    whole = group_cost(table, torch.tensor([0]), torch.tensor([6]))
    assert float(whole) == pytest.approx(everything)


def test_mean_losses_take_the_noise_out_and_have_no_gaps():
    means, table = table_of(4, 2)
    torch.testing.assert_close(mean_losses(table)[:7, 0][1:], means[:7, 0][1:])
    noisy = table * (1 + 0.2 * torch.randn(table.shape, dtype=torch.float64))
    fitted = mean_losses(noisy)
    assert fitted.isfinite().all() and (fitted.diff(dim=0) <= 1e-12).all()


def test_long_plans_are_thinned_out_and_whole():
    means = torch.linspace(2, 0, 1200, dtype=torch.float64)[:, None].expand(-1, 3)
    plan = optimal_group_plan(means, 20)
    assert len(plan) == 20 and sum(plan) == 1200 and min(plan) >= 1
    assert len(optimal_group_plan(means, 700)) == 700


def test_bad_tables_are_refused():
    with pytest.raises(ValueError, match=r"4 columns; expected S \(S \+ 1\) / 2"):
        num_stages_of(4)
    assert [num_stages_of(count) for count in (1, 3, 6, 10)] == [1, 2, 3, 4]
    means, _ = table_of(3, 2)
    with pytest.raises(ValueError, match="steps is 7"):
        optimal_group_plan(means, 7)
    with pytest.raises(ValueError, match="no nats"):
        optimal_group_plan(means - 5, 2)
