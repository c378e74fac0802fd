"""Single steps: from x at level l to level l - 1 by what the network says there, and no memory.

Level l = number of steps left: x at level l is x_t for t = l - 1, and level 0 is the image.
With a = sqrt(alpha_bar) and s = sqrt(1 - alpha_bar) (a = 1, s = 0 at level 0), primes for the level
that is reached, and x0 from `predict`:

    ddpm    a draw from p(x_{t-1} | x_t)
    ddim    a' x0 + sqrt(s'^2 - sigma^2) eps + sigma z,  sigma^2 = eta^2 posterior_variance
    heun    ddim with eta = 0, then again with the mean of the x0 at both ends: the trapezoidal
            rule for d(x/s) / d(a/s) = x0, of second order, two network calls

Sources: arXiv 2006.11239, algorithm 2; arXiv 2010.02502, equations 12 and 16; arXiv 2206.00364,
algorithm 1, for this ODE.

eps is always taken from x0, so that clipping x0 also changes eps.
"""

from collections.abc import Callable
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from .diffusion import GaussianDiffusion
from .noise import RowNoise
from .reverse_process import Reverse

Predict = Callable[[Tensor, int], Reverse]  # (x_t, t) -> p(x_{t-1} | x_t)


class Step(Protocol):
    """Takes x from t to t - 1.

    Attributes:
        reads: what it reads of p: "mean" (and variance), or "x0" alone.
    """

    reads: ClassVar[str]

    def __call__(self, predict: Predict, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Gives x_{t-1} and the image that was aimed at."""


class AncestralStep:
    """A draw from p.

    Args:
        diffusion: the chain.
        noise: source of randomness.
    """

    reads: ClassVar[str] = "mean"

    def __init__(self, diffusion: GaussianDiffusion, noise: RowNoise):
        self.noise = noise

    def __call__(self, predict: Predict, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        p = predict(x, t)
        if t == 0:  # the last step adds nothing
            return p.mean, p.x0
        return p.mean + (0.5 * p.log_variance).exp() * self.noise(x), p.x0


class DDIMStep:
    """Deterministic for eta = 0, the ancestral step of variance "fixed_small" for eta = 1.

    Args:
        diffusion: the chain.
        noise: source of randomness.
        eta: share of the posterior's standard deviation that is drawn anew, 0..1.
    """

    reads: ClassVar[str] = "x0"

    def __init__(self, diffusion: GaussianDiffusion, noise: RowNoise, eta: float = 0.0):
        self.noise = noise
        sigmas = eta * diffusion.posterior_variance.sqrt()
        bars = diffusion.alphas_cumprod
        bars_prev = diffusion.alphas_cumprod_prev
        of_x = (1 - bars_prev - sigmas**2).clamp(min=0).sqrt() / (1 - bars).sqrt()
        of_x0 = bars_prev.sqrt() - bars.sqrt() * of_x
        self.sigmas = sigmas.tolist()
        self.of_x = of_x.tolist()
        self.of_x0 = of_x0.tolist()

    def move(self, x: Tensor, x0: Tensor, t: int) -> Tensor:
        """x_{t-1} if the image is x0."""
        moved = torch.add(self.of_x0[t] * x0, x, alpha=self.of_x[t])
        return moved + self.sigmas[t] * self.noise(x) if self.sigmas[t] else moved

    def __call__(self, predict: Predict, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        x0 = predict(x, t).x0
        return self.move(x, x0, t), x0


class HeunStep:
    """Second order: the image is predicted at both ends of the step, but for the last one.

    Args:
        diffusion: the chain.
        noise: not used.
    """

    reads: ClassVar[str] = "x0"

    def __init__(self, diffusion: GaussianDiffusion, noise: RowNoise):
        self.euler = DDIMStep(diffusion, noise)

    def __call__(self, predict: Predict, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        x0 = predict(x, t).x0
        moved = self.euler.move(x, x0, t)
        if t == 0:
            return moved, x0
        x0 = 0.5 * (x0 + predict(moved, t - 1).x0)
        return self.euler.move(x, x0, t), x0
