"""The process q: one formula against the other, by recursion, by Bayes' rule and by drawing."""

import pytest
import torch

from ddpm.forward_process import ForwardProcess
from ddpm.schedules import SCHEDULES, cosine_schedule, linear_schedule

PROCESSES = {name: ForwardProcess(make(100)) for name, make in SCHEDULES.items()}
every_schedule = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)


@every_schedule
def test_many_small_steps_are_one_large_one(process):
    # mean and variance of x_t by the recursion of q(x_t | x_{t-1}), read off at x = 1 and noise = 1
    one = torch.ones(1, 1, dtype=torch.float64)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    mean, variance = 1.0, 0.0
    for t in range(process.num_timesteps):
        keep = float(process.q_step(one, t, zero))
        add = float(process.q_step(zero, t, one))
        mean = keep * mean
        variance = keep**2 * variance + add**2
        assert float(process.q_sample(one, t, zero)) == pytest.approx(mean, rel=1e-9, abs=1e-12)
        assert float(process.q_sample(zero, t, one)) ** 2 == pytest.approx(variance, rel=1e-12)
        assert mean**2 + variance == pytest.approx(1, abs=1e-12)  # variance is preserved


@every_schedule
def test_posterior_is_bayes_rule(process):
    # x_{t-1} has a prior N(sqrt(ab') x0, 1 - ab') and is seen through
    # x_t = sqrt(1 - beta) x_{t-1} + N(0, beta)
    x0, x_t = torch.randn(2, 5, 3, dtype=torch.float64)
    for t in range(1, process.num_timesteps):
        beta = process.betas[t]
        prior_mean = process.alphas_cumprod[t - 1].sqrt() * x0
        prior_variance = 1 - process.alphas_cumprod[t - 1]
        precision = 1 / prior_variance + (1 - beta) / beta
        expected = (prior_mean / prior_variance + (1 - beta).sqrt() * x_t / beta) / precision
        mean, variance, log_variance = process.q_posterior(x0, x_t, t)
        torch.testing.assert_close(mean, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(variance, (1 / precision).expand_as(mean), rtol=1e-9, atol=0)
        torch.testing.assert_close(log_variance.exp(), variance, rtol=1e-9, atol=0)


def test_posterior_is_what_draws_show():
    process = ForwardProcess(linear_schedule(1000))
    t = 300
    count = 1_000_000
    x0 = torch.full((count, 1), 0.4, dtype=torch.float64)
    before = process.q_sample(x0, t - 1)
    after = process.q_step(before, t)
    centred_before = before - before.mean()
    centred_after = after - after.mean()
    slope = (centred_before * centred_after).sum() / centred_after.square().sum()
    residual = centred_before - slope * centred_after
    _, variance, _ = process.q_posterior(x0[:1], after[:1], t)
    slope_error = (residual.var() / centred_after.square().sum()).sqrt()
    assert abs(slope - process.posterior_mean_coef2[t]) < 4 * slope_error
    assert abs(residual.var() - variance) < 4 * variance.item() * (2 / count) ** 0.5


def test_the_posterior_at_the_first_step_is_the_image():
    process = ForwardProcess(cosine_schedule(50))
    x0, x_t = torch.randn(2, 4, 3, dtype=torch.float64)
    mean, variance, log_variance = process.q_posterior(x0, x_t, 0)
    torch.testing.assert_close(mean, x0, rtol=1e-14, atol=0)
    assert bool((variance == 0).all()) and bool(
        (log_variance == process.posterior_variance[1].log()).all()
    )


@every_schedule
def test_coefficients_belong_together(process):
    # the mean of x_{t-1} given x0 alone
    found = (
        process.posterior_mean_coef1 + process.posterior_mean_coef2 * process.alphas_cumprod.sqrt()
    )
    torch.testing.assert_close(found, process.alphas_cumprod_prev.sqrt(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_timestep_for_all_is_that_timestep_for_each(dtype):
    process = ForwardProcess(linear_schedule(30))
    x0, noise = torch.randn(2, 6, 2, 3, 3).to(dtype)
    for t in (0, 7, 29):
        each = torch.full((6,), t)
        for one, many in (
            (process.q_sample(x0, t, noise), process.q_sample(x0, each, noise)),
            (process.q_step(x0, t, noise), process.q_step(x0, each, noise)),
            *zip(
                process.q_posterior(x0, noise, t), process.q_posterior(x0, noise, each), strict=True
            ),
        ):
            assert one.dtype == many.dtype == dtype and one.shape == many.shape == x0.shape
            torch.testing.assert_close(one, many)


def test_rows_have_their_own_timesteps():
    process = ForwardProcess(linear_schedule(30))
    t = torch.tensor([3, 0, 29])
    x0, noise = torch.randn(2, 3, 1, 2, 2)
    for row, each in enumerate(t.tolist()):
        alone = process.q_sample(x0[row : row + 1], each, noise[row : row + 1])
        torch.testing.assert_close(process.q_sample(x0, t, noise)[row], alone[0])


def test_noise_that_is_not_given_is_drawn():
    process = ForwardProcess(linear_schedule(1000))
    zeros = torch.zeros(100_000, 1)
    assert float(process.q_sample(zeros, 999).std()) == pytest.approx(1, abs=0.01)
    assert float(process.q_step(zeros, 999).std()) == pytest.approx(0.02**0.5, rel=0.01)


def test_tables_are_float64():
    process = ForwardProcess(linear_schedule(1000).float())
    tables = [
        value
        for value in vars(process).values()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    ]
    assert len(tables) >= 6 and {table.dtype for table in tables} == {torch.float64}
