"""KL and the discretised decoder against torch's and scipy's own distributions."""

import itertools

import pytest
import torch
from scipy import stats
from torch.distributions import Normal, kl_divergence

from ddpm.gaussians import discretised_log_prob, gaussian_kl

GREY = torch.arange(256, dtype=torch.float64) / 127.5 - 1


def test_kl_is_torchs():
    mean, log_variance, other, other_log_variance = torch.randn(4, 1000, dtype=torch.float64) * 2
    expected = kl_divergence(
        Normal(mean, (log_variance / 2).exp()), Normal(other, (other_log_variance / 2).exp())
    )
    torch.testing.assert_close(
        gaussian_kl(mean, log_variance, other, other_log_variance), expected, rtol=1e-12, atol=0
    )
    assert gaussian_kl(mean, log_variance, mean, log_variance).abs().max() == 0


def test_kl_of_nearly_equal_gaussians_is_not_lost_in_float32():
    small = torch.tensor(1e-4)
    kl = gaussian_kl(torch.tensor(0.0), small, 0.0, 0.0)
    assert float(kl) == pytest.approx(0.25e-8, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_variance", [-14.0, -9.0, -4.0, 0.0, 5.0])
@pytest.mark.parametrize("mean", [-3.0, -1.0, -0.37, 0.0, 0.9, 1.0])
def test_probabilities_of_all_grey_values_sum_to_one(mean, log_variance, dtype):
    x = GREY.to(dtype)
    log_prob = discretised_log_prob(
        x, torch.full_like(x, mean), torch.tensor(log_variance, dtype=dtype)
    )
    assert float(log_prob.exp().sum()) == pytest.approx(
        1, abs=1e-12 if dtype == torch.float64 else 2e-5
    )
    assert bool((log_prob <= 0).all())


@pytest.mark.parametrize("scale", [0.003, 0.05, 1.0])
def test_a_bin_has_the_mass_between_its_edges(scale):
    mean = 0.21
    edges = (GREY - 1 / 255).tolist()[1:]
    distribution = stats.norm(mean, scale)
    cumulative = [0.0, *distribution.cdf(edges), 1.0]
    expected = torch.tensor([b - a for a, b in itertools.pairwise(cumulative)])
    found = discretised_log_prob(
        GREY, torch.full_like(GREY, mean), 2 * torch.tensor(scale).double().log()
    ).exp()
    torch.testing.assert_close(found, expected.double(), rtol=1e-6, atol=1e-15)


def test_far_from_the_mean_it_is_still_right():
    # the density near the bin times its width, where differences of cdfs are 0 in any precision
    x = GREY[3:4]
    scale = 0.02
    log_prob = discretised_log_prob(x, torch.ones_like(x), 2 * torch.tensor(scale).double().log())
    edge = (float(x) + 1 / 255 - 1) / scale
    assert float(log_prob) == pytest.approx(float(stats.norm.logcdf(edge)), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_gradient_is_finite(dtype):
    x = GREY.to(dtype)
    for mean in (-20.0, -1.0, 0.0, 1.0, 20.0):
        for log_variance in (-14.0, -8.0, 0.0, 8.0):
            inputs = [torch.full_like(x, value).requires_grad_() for value in (mean, log_variance)]
            for gradient in torch.autograd.grad(discretised_log_prob(x, *inputs).sum(), inputs):
                assert bool(gradient.isfinite().all())


def test_gradient_of_the_decoder():
    x = GREY[::17].clone()
    inputs = [torch.full_like(x, 0.1).requires_grad_(), torch.full_like(x, -3.0).requires_grad_()]
    assert torch.autograd.gradcheck(
        lambda mean, log_variance: discretised_log_prob(x, mean, log_variance), inputs
    )
