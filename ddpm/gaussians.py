"""Gaussians with diagonal covariance: the KL divergence of two, and the probability of grey values.

Both are terms of the bound on -log p(image) (arXiv 2006.11239, equations 5 and 13). All is
elementwise and in nats.
"""

import torch
from torch import Tensor

_HALF_BIN = 1 / 255  # grey values are 2 / 255 apart in [-1, 1]


def gaussian_kl(
    mean: Tensor,
    log_variance: Tensor,
    other_mean: Tensor | float,
    other_log_variance: Tensor | float,
) -> Tensor:
    """KL(N(mean, e^log_variance) || N(other_mean, e^other_log_variance)), elementwise, nats.

    Args:
        mean: of the first, any shape.
        log_variance: of the first, natural logarithm.
        other_mean: of the second.
        other_log_variance: of the second.

    Returns:
        Tensor of the shape to which all broadcast, at least 0.
    """
    log_ratio = log_variance - other_log_variance
    precision = torch.exp(torch.as_tensor(-other_log_variance, device=mean.device))
    distance = (mean - other_mean) ** 2 * precision
    return 0.5 * (torch.expm1(log_ratio) - log_ratio + distance)


def discretised_log_prob(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log-probability that N(mean, e^log_variance) gives a grey value: its bin's mass, equation 13.

    The bins are 2 / 255 wide around -1, -1 + 2 / 255, ..., 1; the two outermost reach to infinity,
    so that the 256 probabilities sum to 1. The normal distribution's own functions are used, with
    no floor: far from the mean the result is very negative and its gradient still right.

    Args:
        x: floating point, grey values k / 127.5 - 1 for k = 0..255.
        mean: of the same shape.
        log_variance: natural logarithm, broadcasts to that shape.

    Returns:
        Nats, float64, of that shape, at most 0.
    """
    x = x.double()  # a bin's mass is a difference
    mean = mean.double()
    log_variance = log_variance.double()
    inverse_scale = torch.exp(-0.5 * log_variance)
    centre = (x - mean) * inverse_scale
    half = _HALF_BIN * inverse_scale
    lowest = x < -0.999
    highest = x > 0.999
    # by symmetry, from the side on which the mass is a difference of small numbers, not of ones
    below = -centre.abs()
    near = torch.special.log_ndtr(below + half)
    far = torch.special.log_ndtr(below - half)
    inner = near + torch.log((-torch.expm1(far - near)).clamp(min=1e-300))
    outer = torch.special.log_ndtr(torch.where(lowest, centre, -centre) + half)
    return torch.where(lowest | highest, outer, inner)
