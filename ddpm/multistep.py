"""Multistep solvers: more order from one network call a step, by the images predicted before.

With lambda = log(a / s), h = lambda' - lambda and E = 1 - e^-h, all deterministic ones are

    x' = (s' / s) x + a' E (x0 + trust drift)

(the exact solution of the flow if the predicted image were that sum all along), and differ in how
the image drifts on this step, from x0 here, x0_1 a step before and x0_2 two steps before (UniPC's
is in unipc.py):

    dpm_solver++      D_1 / 2
    dpm_solver++3m    (1/E - 1/h) D_1 + (1/2 - (h - E) / h^2) / E D_2

    sde_dpm_solver++  x' = (s' / s) e^-h x + a' (1 - e^-2h) (x0 + trust D_1 / 2)
                           + s' sqrt(1 - e^-2h) z

where D_1 and D_2 are slope and curvature through these images, in units of h. On a long step a
drift is trusted for as long a way as it was seen on and no longer,

    trust = min(h, max(h_1, LONG_STEP)) / h,   h_1 of the step before

where the published solvers have 1; a curvature is not trusted there at all. Evenly spaced timesteps
are far from even in h: in few steps the one before the last, onto t = 0, is 3 to 5 times as long as
the one before it, and there formulas of higher order overshoot so far that first order is better.
Steps of at most LONG_STEP, all that there are in many steps, are the formulas, and so are those
that are no longer than the step before.

Source: arXiv 2211.01095, algorithm 2 and appendices. Orders rise with the first steps and fall
again to 1 on the last one, whose lambda' is infinite. Levels: see single_steps.py.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from .diffusion import GaussianDiffusion
from .noise import RowNoise
from .single_steps import DDIMStep, Predict

# in h, half of log-SNR: a drift that was seen on a shorter way is trusted as far as this
LONG_STEP = 0.5
_WHOLLY = 0.999  # a trust of 1, but for rounding
_FEW = 15  # steps, below which a third-order solver ends with a second-order step


def half_log_snr(diffusion: GaussianDiffusion) -> list[float]:
    """lambda of the paper by t; -inf where nothing is left of the image."""
    signal = diffusion.alphas_cumprod.sqrt()
    spread = (1 - diffusion.alphas_cumprod).sqrt()
    return (signal.log() - spread.log()).tolist()


def trust(h: float, h_last: float) -> float:
    """Share of a drift that is believed on a step of h, in half log-SNR, after one of h_last."""
    return min(h, max(h_last, LONG_STEP)) / h


class Past:
    """The images that were predicted at t + 1, t + 2, ..., as far back as a solver looks.

    Args:
        lambdas: by t.
        length: how many.
    """

    def __init__(self, lambdas: list[float], length: int):
        self.lambdas = lambdas
        self.length = length
        self.images: list[tuple[int, Tensor]] = []  # the latest first

    def before(self, t: int) -> list[tuple[float, Tensor]]:
        """Lambda and image of each; nothing after a jump, or where lambda is infinite."""
        if not self.images or self.images[0][0] != t + 1:
            self.images = []
        known = [(self.lambdas[s], x0) for s, x0 in self.images]
        return [point for point in known if math.isfinite(point[0])]

    def add(self, t: int, x0: Tensor) -> None:
        """Remembers the image of this step."""
        self.images = [(t, x0), *self.images][: self.length]


class DriftStep(ABC):
    """Aims at the image here and its drift over the step, by the images predicted before.

    Args:
        diffusion: the chain.
        noise: source of randomness.
    """

    reads: ClassVar[str] = "x0"
    length: ClassVar[int]  # of the past that it looks at

    def __init__(self, diffusion: GaussianDiffusion, noise: RowNoise):
        self.lambdas = half_log_snr(diffusion)
        self.past = Past(self.lambdas, self.length)
        self.few = diffusion.num_timesteps < _FEW
        self.move: Callable[[Tensor, Tensor, int], Tensor] = DDIMStep(diffusion, noise).move

    def __call__(self, predict: Predict, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Moves x to t - 1; see [`Step`]."""
        x0 = predict(x, t).x0
        past = self.past.before(t)
        aim = x0 + self.drift(x0, past, t) if past and t > 0 else x0
        self.past.add(t, x0)
        return self.move(x, aim, t), x0

    @abstractmethod
    def drift(self, x0: Tensor, past: list[tuple[float, Tensor]], t: int) -> Tensor:
        """By how much the image drifts on the step from t > 0, like x0; past is not empty."""


class DPMSolverStep(DriftStep):
    """Second order: the image's slope is taken from the step before."""

    length = 1

    def drift(self, x0: Tensor, past: list[tuple[float, Tensor]], t: int) -> Tensor:
        """trust D_1 / 2."""
        return half_slope(x0, past[0], self.lambdas, t)


class DPMSolver3Step(DriftStep):
    """Slope and curvature of the image, from the two steps before."""

    length = 2

    def drift(self, x0: Tensor, past: list[tuple[float, Tensor]], t: int) -> Tensor:
        """Both where the drift is trusted, else trust D_1 / 2."""
        (last, x0_1), *earlier = past
        here = self.lambdas[t]
        h = self.lambdas[t - 1] - here
        # a curvature carries further than a slope; the published solver drops it at the end of few
        if not earlier or trust(h, here - last) < _WHOLLY or (self.few and t == 1):
            return half_slope(x0, past[0], self.lambdas, t)
        ((before, x0_2),) = earlier
        r_1 = (here - last) / h
        r_2 = (last - before) / h
        slope = (x0 - x0_1) / r_1
        bend = (slope - (x0_1 - x0_2) / r_2) / (r_1 + r_2)
        decay = -math.expm1(-h)  # E
        of_slope = 1 / decay - 1 / h
        of_bend = (0.5 - (h - decay) / h**2) / decay
        return of_slope * (slope + r_1 * bend) + of_bend * bend


class SDEDPMSolverStep(DPMSolverStep):
    """Second order for the stochastic equation: each step replaces a part of the noise.

    Args:
        diffusion: the chain.
        noise: source of randomness.
    """

    def __init__(self, diffusion: GaussianDiffusion, noise: RowNoise):
        super().__init__(diffusion, noise)
        bars = diffusion.alphas_cumprod
        bars_prev = diffusion.alphas_cumprod_prev
        kept = (bars * (1 - bars_prev) / (bars_prev * (1 - bars))).sqrt()  # e^-h
        of_x = (((1 - bars_prev) / (1 - bars)).sqrt() * kept).tolist()
        of_x0 = (bars_prev.sqrt() * (1 - kept**2)).tolist()
        sigmas = ((1 - bars_prev) * (1 - kept**2)).sqrt().tolist()

        def move(x: Tensor, x0: Tensor, t: int) -> Tensor:
            moved = of_x[t] * x + of_x0[t] * x0
            return moved + sigmas[t] * noise(x) if sigmas[t] else moved

        self.move = move


def half_slope(x0: Tensor, last: tuple[float, Tensor], lambdas: list[float], t: int) -> Tensor:
    """trust D_1 / 2, the drift of second order, for a step from t.

    Args:
        x0: (B, C, H, W).
        last: lambda and image of the step before.
        lambdas: by t.
        t: above 0.

    Returns:
        Like x0.
    """
    h = lambdas[t - 1] - lambdas[t]
    h_last = lambdas[t] - last[0]
    return (x0 - last[1]) * (trust(h, h_last) * h / (2 * h_last))
