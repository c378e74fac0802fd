"""UniPC: a step is predicted, and corrected once the image where it led to is known.

    x' = (s' / s) x + a' E (x0 + trust sum_i (rho_i / r_i) (x0_i - x0))

by the polynomial through the images predicted before, x0_i at r_i h from here; a, s, lambda, h, E
and trust are those of multistep.py. When x0 at x' is known, the step is made again with it as one
more point, at r = 1, and no network is called for that.

Source: arXiv 2302.04867, algorithms 1 and 2, with B(h) = e^h - 1 of data prediction. Orders rise
with the first steps and fall again to 1 on the last one. Levels: see single_steps.py.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from .diffusion import GaussianDiffusion
from .multistep import Past, half_log_snr, trust
from .noise import RowNoise
from .single_steps import DDIMStep, Predict


class UniPCStep:
    """Predicts the next x, and corrects it once the image there is known; one call a step.

    Args:
        diffusion: the chain.
        noise: not used.
    """

    reads: ClassVar[str] = "x0"
    order: ClassVar[int]

    def __init__(self, diffusion: GaussianDiffusion, noise: RowNoise):
        self.lambdas = half_log_snr(diffusion)
        self.euler = DDIMStep(diffusion, noise)
        self.past = Past(self.lambdas, self.order)
        # of the step before: where it began, where it came to, and the points of its polynomial
        self.begun: tuple[Tensor, Tensor, int] | None = None

    def __call__(self, predict: Predict, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        x0 = predict(x, t).x0
        past = self.past.before(t)
        if past and self.begun is not None:
            x = self._corrected(x, x0, past, t)
        # fewer points towards the end, as the last step has order 1
        points = past[: min(self.order, t + 1) - 1]
        aim = x0
        if points and t > 0:
            h = self.lambdas[t - 1] - self.lambdas[t]
            aim = x0 + trust(h, self.lambdas[t] - points[0][0]) * self._drift(x0, points, t)
        moved = self.euler.move(x, aim, t)
        self.begun = x, moved, len(points)
        self.past.add(t, x0)
        return moved, x0

    def _corrected(self, x: Tensor, x0: Tensor, past: list[tuple[float, Tensor]], t: int) -> Tensor:
        """x, moved by what the step that came here would have been, had it known x0."""
        assert self.begun is not None
        start, predicted, num_points = self.begun
        (_, x0_last), *points = past[: num_points + 1]
        # between known images nothing need be trusted
        aim = x0_last + self._drift(x0_last, points, t + 1, ahead=x0)
        # another part of x may have been put in place meanwhile, as by inpainting
        return x + (self.euler.move(start, aim, t + 1) - predicted)

    def _drift(
        self, x0: Tensor, points: list[tuple[float, Tensor]], t: int, ahead: Tensor | None = None
    ) -> Tensor:
        """By how much a step from t aims off x0, by its past and perhaps what lies ahead."""
        here = self.lambdas[t]
        h = self.lambdas[t - 1] - here
        places = [(point - here) / h for point, _ in points]
        images = [image for _, image in points]
        if ahead is not None:
            places.append(1.0)
            images.append(ahead)
        weights = _weights(h, tuple(places))
        return sum(
            (w / r * (image - x0) for w, r, image in zip(weights, places, images, strict=True)),
            torch.zeros_like(x0),
        )


class UniPC2Step(UniPCStep):
    """UniPC of second order."""

    order = 2


class UniPC3Step(UniPCStep):
    """UniPC of third order."""

    order = 3


def _weights(h: float, places: tuple[float, ...]) -> list[float]:
    """rho of algorithm 1: of the slopes to points at places r h from here.

    Args:
        h: of the step.
        places: r of each point, none of them 0.

    Returns:
        One number a point: sum_i rho_i r_i^k = k! phi_{k+1}(-h) / phi_1(-h) for all k that they
        can satisfy; of a single one 1/2, as in the paper.
    """
    if len(places) == 1:
        return [0.5]
    powers = torch.tensor(places, dtype=torch.float64)
    rows = torch.stack([powers**k for k in range(len(places))])
    phi = -math.expm1(-h) / h  # phi_1(-h)
    wanted = []
    first = phi
    for k in range(1, len(places) + 1):
        # phi_{k+1}(z) = (phi_k(z) - 1 / k!) / z
        phi = (phi - 1 / math.factorial(k)) / -h
        wanted.append(math.factorial(k) * phi / first)
    return torch.linalg.solve(rows, torch.tensor(wanted, dtype=torch.float64)).tolist()
