"""Data whose best denoiser is known in closed form: a Gaussian, and a mixture of Gaussians."""

from dataclasses import dataclass

import pytest
import torch

from ddpm import GaussianDiffusion


@dataclass
class ExactMixture:
    """p(x0) = sum_k weight_k N(mean_k, std^2), alike in every dimension of (B, C, ...); float64."""

    means: torch.Tensor
    weights: torch.Tensor
    std: float

    def draw(self, *shape, seed=0):
        generator = torch.Generator().manual_seed(seed)
        count = torch.Size(shape).numel()
        chosen = self.means[
            torch.multinomial(self.weights, count, replacement=True, generator=generator)
        ]
        return (
            chosen + self.std * torch.randn(count, generator=generator, dtype=torch.float64)
        ).view(shape)

    def posterior(self, x, signal, variance):
        """Mean and variance of x0 given x = signal * x0 + N(0, variance)."""
        total = self.std**2 * signal**2 + variance
        distance = x[..., None] - signal * self.means
        shares = (self.weights.log() - distance**2 / (2 * total)).softmax(-1)
        means = self.means + self.std**2 * signal / total * distance
        mean = (shares * means).sum(-1)
        within = self.std**2 * variance / total
        return mean, within + (shares * (means - mean[..., None]) ** 2).sum(-1)

    def denoiser(self, diffusion, optimal_variance=False):
        """The exact network for prediction "epsilon", told the diffusion's own timesteps.

        With `optimal_variance` its second half is the log-variance of the true p(x_{t-1} | x_t):
        variance "learned".
        """
        place = {int(time): t for t, time in enumerate(diffusion.timesteps)}

        def model(x, times, labels=None):
            t = place[int(times[0])]
            assert (times == times[0]).all()
            bar = diffusion.alphas_cumprod[t]
            mean, spread = self.posterior(x, bar.sqrt(), 1 - bar)
            epsilon = (x - bar.sqrt() * mean) / (1 - bar).sqrt()
            if not optimal_variance:
                return epsilon
            variance = (
                diffusion.posterior_variance[t] + diffusion.posterior_mean_coef1[t] ** 2 * spread
            )
            return torch.cat((epsilon, variance.log()), dim=1)

        return model


@pytest.fixture
def gaussian():
    """(mean, std) -> [`ExactMixture`] of one component."""
    return lambda mean=0.0, std=1.0: ExactMixture(
        torch.tensor([mean], dtype=torch.float64), torch.ones(1).double(), std
    )


@pytest.fixture
def mixture():
    """Three components."""
    means, weights = torch.tensor([[-0.6, 0.1, 0.8], [0.3, 0.5, 0.2]], dtype=torch.float64)
    return ExactMixture(means, weights, 0.05)


@pytest.fixture
def mixture_of():
    """(means, std, weights or None for equal ones) -> [`ExactMixture`]."""

    def build(means, std, weights=None):
        means = torch.tensor(means, dtype=torch.float64)
        weights = torch.ones_like(means) if weights is None else torch.tensor(weights).double()
        return ExactMixture(means, weights / weights.sum(), std)

    return build


@dataclass
class Classes:
    """p(x0) = sum_y weight_y N(mean_y, diag(std_y^2)), y the class; points are (B, F), float64."""

    means: torch.Tensor  # (K, F)
    stds: torch.Tensor  # (K, F)
    weights: torch.Tensor  # (K,)
    diffusion: GaussianDiffusion  # not respaced: timesteps are indices into it

    def _at(self, t):
        bar = self.diffusion.alphas_cumprod[int(t[0])]
        assert (t == t[0]).all()
        return bar.sqrt(), 1 - bar

    def log_joint(self, x, t):
        """log p(x_t, y), (B, K): a classifier's logits."""
        signal, noise = self._at(t)
        spread = (signal * self.stds) ** 2 + noise
        distance = x[:, None] - signal * self.means
        return self.weights.log() - (distance**2 / spread + spread.log()).sum(-1) / 2

    def epsilon(self, x, t, labels=None):
        """The exact network: of the class, or of all without labels."""
        signal, noise = self._at(t)
        spread = (signal * self.stds) ** 2 + noise
        each = noise.sqrt() * (x[:, None] - signal * self.means) / spread  # (B, K, F)
        if labels is not None:
            return each[torch.arange(len(x)), labels]
        return (self.log_joint(x, t).softmax(1)[..., None] * each).sum(1)

    def gradient(self, x, t, labels):
        """grad log p(y | x_t) in closed form: the difference of two scores."""
        return (self.epsilon(x, t) - self.epsilon(x, t, labels)) / self._at(t)[1].sqrt()


@pytest.fixture
def classes_of():
    """(diffusion, means, stds, weights) -> [`Classes`]."""

    def build(diffusion, means, stds, weights):
        means = torch.tensor(means, dtype=torch.float64)
        stds = torch.tensor(stds, dtype=torch.float64).expand_as(means)
        weights = torch.tensor(weights, dtype=torch.float64)
        return Classes(means, stds, weights / weights.sum(), diffusion)

    return build
