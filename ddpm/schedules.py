"""Noise schedules: the betas of q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I).

With alpha_t = 1 - beta_t and alpha_bar_t = alpha_0 ... alpha_t, x_t = sqrt(alpha_bar_t) x_0 +
sqrt(1 - alpha_bar_t) eps (arXiv 2006.11239, equations 2 and 4). A schedule is the vector beta (T,),
float64: a float32 product is wrong by 1e-5 of alpha_bar at the end of the cosine schedule. t counts
from 0 here, from 1 in the papers.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ardm.training.integers import check_integer

from .checks import check_number


def linear_schedule(num_timesteps: int = 1000) -> Tensor:
    """Evenly spaced betas, 1e-4 to 0.02 for 1000 steps.

    Other numbers of steps destroy the image as much.
    Source: arXiv 2006.11239, section 4, with the scaling by 1000 / T of improved-diffusion.

    Args:
        num_timesteps: T, at least 21: at 20 the last beta is 1 and nothing of the image is left.

    Returns:
        betas, float64 (T,).

    Raises:
        ValueError: if `num_timesteps` is too small.
    """
    num_timesteps = check_integer("num_timesteps", num_timesteps, 21)
    scale = 1000 / num_timesteps
    return torch.linspace(scale * 1e-4, scale * 0.02, num_timesteps, dtype=torch.float64)


def cosine_schedule(num_timesteps: int = 1000, max_beta: float = 0.999) -> Tensor:
    """alpha_bar_t = f((t + 1) / T) / f(0), f(s) = cos^2((s + 0.008) / 1.008 * pi / 2), capped.

    Source: arXiv 2102.09672, equation 17.

    Args:
        num_timesteps: T.
        max_beta: betas are at most this; without it the last one would be 1.

    Returns:
        betas, float64 (T,).

    Raises:
        ValueError: if `num_timesteps` is below 2 or `max_beta` outside (0, 1].
    """
    num_timesteps = check_integer("num_timesteps", num_timesteps, 2)
    check_number("max_beta", max_beta, lambda beta: 0 < beta <= 1, "a number in (0, 1]")
    shares = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    alpha_bars = ((shares + 0.008) / 1.008 * (math.pi / 2)).cos() ** 2
    return (1 - alpha_bars[1:] / alpha_bars[:-1]).clamp(max=max_beta)


def zero_terminal_snr(betas: Tensor) -> Tensor:
    """The schedule shifted and stretched: x_{T-1} is pure noise, the first step stays as it is.

    sqrt(alpha_bar) <- (sqrt(alpha_bar) - last) * first / (first - last). The last beta becomes 1,
    so that a network that predicts the noise has nothing to say there: use it with prediction
    "v_prediction" or "sample".
    Source: arXiv 2305.08891, algorithm 1.

    Args:
        betas: float64 (T,), T >= 2.

    Returns:
        betas, float64 (T,), the last one exactly 1.

    Raises:
        ValueError: if betas are no schedule of at least two steps.
    """
    betas = check_betas(betas, minimum=2)
    roots = (1 - betas).cumprod(0).sqrt()
    roots = (roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))
    alpha_bars = roots**2
    previous = torch.cat((torch.ones(1, dtype=torch.float64), alpha_bars[:-1]))
    return 1 - alpha_bars / previous


SCHEDULES: dict[str, Callable[[int], Tensor]] = {
    "linear": linear_schedule,
    "cosine": cosine_schedule,
    "linear_zero_snr": lambda num_timesteps: zero_terminal_snr(linear_schedule(num_timesteps)),
    "cosine_zero_snr": lambda num_timesteps: zero_terminal_snr(cosine_schedule(num_timesteps)),
}


def check_betas(betas: Tensor, minimum: int = 1) -> Tensor:
    """The betas as a float64 CPU tensor of their own, once they are found to be a schedule.

    Args:
        betas: anything that becomes a vector of numbers.
        minimum: smallest T.

    Returns:
        float64 (T,).

    Raises:
        ValueError: if it is not a vector of at least `minimum` numbers in (0, 1], of which only the
            last may be 1, or if they leave nothing of an image long before the end.
    """
    expected = "expected a vector of numbers, such as cosine_schedule(1000)"
    try:
        given = torch.as_tensor(betas, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError) as error:  # torch has no single type for this
        raise ValueError(f"betas are {betas!r}; {expected}.") from error
    if given.is_complex() or given.dtype == torch.bool:
        raise ValueError(f"betas are {given.dtype}; {expected}.")
    betas = given.to(torch.float64).clone()
    if betas.ndim != 1 or len(betas) < minimum:
        raise ValueError(
            f"betas have shape {tuple(betas.shape)}; expected (T,) with T of at least {minimum}."
        )
    if not ((betas > 0) & (betas <= 1) & (1 - betas < 1)).all() or (betas[:-1] == 1).any():
        low = float(betas.min())
        high = float(betas.max())
        raise ValueError(
            f"betas lie in [{low}, {high}];"
            " expected numbers in (0, 1], of which only the last may be 1."
        )
    left = (1 - betas[:-1]).prod() if len(betas) > 1 else 1
    if left == 0:
        raise ValueError(
            f"{len(betas)} betas of {float(betas.mean()):.3g} on average leave nothing of the image"
            " before the last step (alpha_bar is 0); expected fewer or smaller ones."
        )
    return betas
