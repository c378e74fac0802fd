"""Schedules: their formulae, their ends, and what is no schedule."""

import math

import pytest
import torch

from ddpm.schedules import (
    SCHEDULES,
    check_betas,
    cosine_schedule,
    linear_schedule,
    zero_terminal_snr,
)


def alpha_bars(betas):
    return (1 - betas).cumprod(0)


@pytest.mark.parametrize(
    ("make", "num_timesteps", "last"),
    [
        (linear_schedule, 1000, 4.0358e-5),
        (linear_schedule, 4000, 4.2467e-5),
        (cosine_schedule, 1000, 2.4288e-9),
        (cosine_schedule, 4000, 1.518e-10),
    ],
)
def test_what_is_left_of_the_image_at_the_end(make, num_timesteps, last):
    betas = make(num_timesteps)
    assert betas.dtype == torch.float64 and betas.shape == (num_timesteps,)
    assert float(alpha_bars(betas)[-1]) == pytest.approx(last, rel=1e-4)


def test_linear_is_the_papers_for_1000_steps():
    betas = linear_schedule(1000)
    assert (float(betas[0]), float(betas[-1])) == pytest.approx((1e-4, 0.02), rel=1e-15)
    torch.testing.assert_close(betas.diff(), torch.full((999,), 0.0199 / 999, dtype=torch.float64))


def test_cosine_follows_its_curve_until_the_cap():
    def curve(share):
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    for num_timesteps in (2, 50, 1000):
        betas = cosine_schedule(num_timesteps)
        for t in range(num_timesteps):
            expected = 1 - curve((t + 1) / num_timesteps) / curve(t / num_timesteps)
            assert float(betas[t]) == pytest.approx(min(expected, 0.999), rel=1e-9)


@pytest.mark.parametrize("make", [linear_schedule, cosine_schedule])
def test_zero_terminal_snr_ends_in_noise_and_begins_as_before(make):
    before = alpha_bars(make(500))
    after = zero_terminal_snr(make(500))
    assert float(after[-1]) == 1 and bool((after[:-1] < 1).all())
    torch.testing.assert_close(alpha_bars(after)[0], before[0], rtol=1e-12, atol=0)
    # the roots are those of before, shifted and stretched: differences keep their proportions
    roots_before = before.sqrt()
    roots_after = alpha_bars(after).sqrt()
    ratios = roots_after.diff() / roots_before.diff()
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios), rtol=1e-6, atol=0)


def test_zero_terminal_snr_again_changes_nothing():
    once = zero_terminal_snr(linear_schedule(100))
    torch.testing.assert_close(zero_terminal_snr(once), once, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_named_schedule_is_one(name):
    betas = SCHEDULES[name](300)
    torch.testing.assert_close(check_betas(betas), betas)
    assert bool((alpha_bars(betas).diff() < 0).all())
    assert (float(betas[-1]) == 1) == name.endswith("zero_snr")


@pytest.mark.parametrize(
    "betas",
    [
        torch.zeros(3),
        torch.tensor([0.1, 1.0, 0.1]),
        torch.tensor([0.1, float("nan")]),
        torch.tensor([-0.1, 0.2]),
        torch.ones(2, 2) / 2,
        torch.tensor([]),
        torch.tensor([0.1, 1.5]),
        "linear",
        linear_schedule,
        None,
        torch.tensor([1e-20, 0.1], dtype=torch.float64),
    ],
)
def test_no_schedule(betas):
    with pytest.raises(ValueError, match="betas"):
        check_betas(betas)


@pytest.mark.parametrize("count", [0, -3, 20, 2.5, True, "1000"])
def test_number_of_timesteps(count):
    with pytest.raises(ValueError, match="num_timesteps"):
        linear_schedule(count)
    if not isinstance(count, int) or count < 2:
        with pytest.raises(ValueError, match="num_timesteps"):
            cosine_schedule(count)
    with pytest.raises(ValueError, match="max_beta"):
        cosine_schedule(10, max_beta=0)


def test_betas_are_copied():
    given = linear_schedule(30)
    checked = check_betas(given)
    given[0] = 0.5
    assert float(checked[0]) != 0.5
