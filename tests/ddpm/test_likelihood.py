"""The bound is tight for exact denoisers, and bits per dimension are the entropy of the data."""

import math

import pytest
import torch

from ddpm.diffusion import GaussianDiffusion
from ddpm.likelihood import bound_bits
from ddpm.schedules import cosine_schedule, linear_schedule

FIXED = ("fixed_small", "fixed_large")


def silent(x, t, labels=None):
    """A fresh network with a learned variance: all zeros."""
    return torch.zeros(len(x), 2 * x.shape[1], *x.shape[2:], dtype=x.dtype)


def quadrature(mean, std):
    """Four points (x0, noise): a quadratic's mean over them is that of N(mean, std^2) x N(0, 1)."""
    x0 = torch.tensor([mean - std, mean - std, mean + std, mean + std], dtype=torch.float64).view(
        4, 1
    )
    return x0, torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64).view(4, 1)


SHORT = [(cosine_schedule, 2, None), (cosine_schedule, 3, None)]

LONG = [
    (make, num_timesteps, respacing)
    for make in (linear_schedule, cosine_schedule)
    for num_timesteps in (40, 1000)
    for respacing in (None, "10", "ddim20", "3,5")
]


@pytest.mark.parametrize(("make", "num_timesteps", "respacing"), SHORT + LONG)
def test_the_bound_is_tight_for_gaussian_data(gaussian, make, num_timesteps, respacing):
    """With exact denoiser and optimal variance nothing is lost: arXiv 2006.11239, equation 5."""
    mean, std = 0.3, 0.4
    diffusion = GaussianDiffusion(make(num_timesteps), variance="learned")
    diffusion = diffusion if respacing is None else diffusion.respace(respacing)
    model = gaussian(mean, std).denoiser(diffusion, optimal_variance=True)
    x0, noise = quadrature(mean, std)
    nats = 0.0
    for t in range(diffusion.num_timesteps):
        x_t = diffusion.q_sample(x0, t, noise)
        p = diffusion.p_mean_variance(model, x_t, t, clip=False)
        if t == 0:  # a continuous decoder: the density of x0
            term = 0.5 * (
                math.log(2 * math.pi) + p.log_variance + (x0 - p.mean) ** 2 / p.log_variance.exp()
            )
        else:
            term = bound_bits(x0, t, diffusion.q_posterior(x0, x_t, t), p.mean, p.log_variance)[
                :, None
            ] * math.log(2)
        nats += float(term.mean())
    last = diffusion.alphas_cumprod[-1]
    prior = 0.5 * (last * (mean**2 + std**2) + (1 - last) - 1 - (1 - last).log())
    # what is lost: the KL of the marginal q(x_T) = N(sqrt(ab) m, ab s^2 + 1 - ab) from the prior
    marginal = last * std**2 + 1 - last
    loss = 0.5 * (marginal + last * mean**2 - 1 - marginal.log())
    entropy = 0.5 * math.log(2 * math.pi * math.e * std**2)
    assert nats + float(prior) == pytest.approx(entropy + float(loss), abs=1e-9)


@pytest.mark.parametrize("variance", FIXED)
def test_a_fixed_variance_loses_something(gaussian, variance):
    diffusion = GaussianDiffusion(linear_schedule(1000), variance=variance)
    exact = gaussian(0.3, 0.4)
    learned = GaussianDiffusion(linear_schedule(1000), variance="learned")
    x0, noise = quadrature(0.3, 0.4)
    for t in (1, 10, 300, 999):
        x_t = diffusion.q_sample(x0, t, noise)
        posterior = diffusion.q_posterior(x0, x_t, t)
        worse = diffusion.p_mean_variance(exact.denoiser(diffusion), x_t, t, clip=False)
        best = learned.p_mean_variance(
            exact.denoiser(learned, optimal_variance=True), x_t, t, clip=False
        )
        terms = [bound_bits(x0, t, posterior, p.mean, p.log_variance).mean() for p in (worse, best)]
        assert terms[0] > terms[1]


@pytest.mark.parametrize("respacing", [None, "30"])
def test_bits_per_dim_of_gaussian_data(gaussian, respacing):
    mean, std = 0.1, 0.15
    data = gaussian(mean, std)
    diffusion = GaussianDiffusion(cosine_schedule(100), variance="learned")
    diffusion = diffusion if respacing is None else diffusion.respace(respacing)
    grey = ((data.draw(4000, 1, 2, 2, seed=1) + 1) * 127.5).round()
    x0 = (grey / 127.5 - 1).clamp(-1, 1)
    generator = torch.Generator().manual_seed(0)
    bits = diffusion.bits_per_dim(
        data.denoiser(diffusion, optimal_variance=True), x0, clip=False, generator=generator
    )
    assert bits.total.shape == bits.prior.shape == (4000,) and bits.per_step.shape == (
        4000,
        diffusion.num_timesteps,
    )
    torch.testing.assert_close(bits.total, bits.prior + bits.per_step.sum(1))
    entropy = 0.5 * math.log2(2 * math.pi * math.e * std**2) + math.log2(127.5)
    assert abs(float(bits.total.mean()) - entropy) < 4 * float(bits.total.std()) / 4000**0.5 + 1e-3
    again = diffusion.bits_per_dim(
        data.denoiser(diffusion, optimal_variance=True),
        x0,
        clip=False,
        generator=generator.manual_seed(0),
    )
    assert torch.equal(again.per_step, bits.per_step)


def test_prior_bits_of_the_papers_schedules():
    x0 = torch.tensor([[0.5], [-0.5]])  # E x^2 = 0.25
    for betas, expected in (
        (linear_schedule(1000), 7.3e-6),
        (linear_schedule(4000), 7.7e-6),
        (cosine_schedule(1000), 4e-10),
    ):
        respaced = GaussianDiffusion(betas).respace("2")
        assert float(respaced.bits_per_dim(silent, x0).prior.mean()) == pytest.approx(
            expected, rel=0.1
        )


def test_bits_per_dim_leaves_the_model_as_it_was():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.frozen = torch.nn.Dropout()
            self.calls = []
            self.frozen.eval()

        def forward(self, x, t, labels=None):
            self.calls.append((self.training, torch.is_grad_enabled(), tuple(t.tolist()), labels))
            return silent(x, t)

    net = Net().train()
    diffusion = GaussianDiffusion(linear_schedule(40)).respace("4")
    net.frozen.eval()
    diffusion.bits_per_dim(net, torch.zeros(2, 1, 2, 2), torch.tensor([1, 2]))
    assert [call[:3] for call in net.calls] == [(False, False, (t, t)) for t in (0, 13, 26, 39)]
    assert all(call[3].tolist() == [1, 2] for call in net.calls)
    assert net.training and not net.frozen.training


@pytest.mark.parametrize("shown", [True, False])
def test_the_bound_shows_how_far_it_is(shown, capsys):
    diffusion = GaussianDiffusion(cosine_schedule(5), "sample", "fixed_small")
    diffusion.bits_per_dim(lambda x, t: x, torch.zeros(1, 1, 2, 2), progress=shown)
    assert ("bound" in capsys.readouterr().err) == shown
