"""Steps: from x at level l to level l - 1, one class a sampler; the loop is in samplers.py.

Level l = number of steps left: x at level l is x_t for t = l - 1, and level 0 is the image.
With a = sqrt(alpha_bar) and s = sqrt(1 - alpha_bar) (a = 1, s = 0 at level 0), primes for the level
that is reached, and x0 from `predict`:

    ddpm          a draw from p(x_{t-1} | x_t)
    ddim          a' x0 + sqrt(s'^2 - sigma^2) eps + sigma z,  sigma^2 = eta^2 posterior_variance
    heun          ddim with eta = 0, then again with the mean of the x0 at both ends: the
                  trapezoidal rule for d(x/s) / d(a/s) = x0, of second order, two network calls
    dpm_solver++  (s'/s) x - a' (e^-h - 1) (x0 + (x0 - x0_last) reach / (2 h_last)),
                  h = log(a' s / (a s')) and reach = min(h, max(h_last, LONG_STEP))

Sources: arXiv 2006.11239, algorithm 2; arXiv 2010.02502, equations 12 and 16; arXiv 2206.00364,
algorithm 1, for this ODE; arXiv 2211.01095, algorithm 2, of second order, which has reach = h.

eps is always taken from x0, so that clipping x0 also changes eps.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from .diffusion import GaussianDiffusion
from .noise import RowNoise
from .reverse_process import Reverse

Predict = Callable[[Tensor, int], Reverse]  # (x_t, t) -> p(x_{t-1} | x_t)

# in h, half of log-SNR: a drift that was seen on a shorter way is trusted as far as this
LONG_STEP = 0.5


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


class DPMSolverStep:
    """Second order from one network call a step: the image's drift is taken from the step before.

    On a long step that drift is trusted for as long a way as it was seen on and no longer. Evenly
    spaced timesteps are far from even in h: in few steps the one before the last, onto t = 0, is 3
    to 5 times as long as the one before it, and there the formula of second order overshoots so far
    that first order is better. Steps of at most LONG_STEP, all that there are in many steps, are
    the formula, so that the order of convergence is its own.

    Args:
        diffusion: the chain.
        noise: not used.
    """

    reads: ClassVar[str] = "x0"

    def __init__(self, diffusion: GaussianDiffusion, noise: RowNoise):
        signal = diffusion.alphas_cumprod.sqrt()
        spread = (1 - diffusion.alphas_cumprod).sqrt()
        # lambda of the paper; -inf where nothing is left
        self.log_snr_half = (signal.log() - spread.log()).tolist()
        self.euler = DDIMStep(diffusion, noise)
        self.last: tuple[int, Tensor] | None = None

    def __call__(self, predict: Predict, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        x0 = predict(x, t).x0
        aim = x0
        # the first step has none before it, the last would reach for an infinite lambda, and a jump
        # back starts afresh
        if self.last is not None and self.last[0] == t + 1 and t > 0:
            h = self.log_snr_half[t - 1] - self.log_snr_half[t]
            h_last = self.log_snr_half[t] - self.log_snr_half[t + 1]
            if math.isfinite(h_last):
                reach = min(h, max(h_last, LONG_STEP))
                aim = x0 + (x0 - self.last[1]) * (reach / (2 * h_last))
        self.last = t, x0
        return self.euler.move(x, aim, t), x0


STEPS: dict[str, type[Any]] = {
    "ddpm": AncestralStep,
    "ddim": DDIMStep,
    "heun": HeunStep,
    "dpm_solver++": DPMSolverStep,
}
