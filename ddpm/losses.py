"""The losses of a noised batch, one number an image.

    simple   weight_t * mean over dimensions of (target - prediction)^2
    vlb      T * L_t, L_t the bound's term at t, bits per dimension (likelihood.py)
    hybrid   simple + T / 1000 * L_t, where L_t teaches the variance alone

(arXiv 2006.11239, equation 14; arXiv 2102.09672, equation 16.) The mean of vlb over t is the bound
without its prior. For T = 1000 the hybrid loss is simple + L_t. A fixed variance has nothing to
learn, so that hybrid is simple. The weight is 1, or `capped_snr_weights` with `min_snr_gamma`.

A grey value costs 8 bits if one knows nothing at all. A fresh network that predicts "sample" or
"previous" pays thousands at t = 0, where it should say what it sees and says 0, and one such image
would drown all others of its batch. For these two, above 16 bits L_t counts as
16 (1 + log(L_t / 16)): what is below stays what it is, and what is above still falls.
`bits_per_dim` is never tamed.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .likelihood import bound_bits
from .reverse_process import ReverseProcess
from .variances import LEARNED

_TAME = 16.0  # bits per dimension, twice what a grey value costs if nothing is known


class Noised(NamedTuple):
    """Images (B, C, H, W), their timesteps (B,) or one number, noise, and x_t that they make."""

    x0: Tensor
    t: Tensor | int
    noise: Tensor
    x_t: Tensor


def _simple(process: ReverseProcess, batch: Noised, output: Tensor) -> Tensor:
    predicted = output[:, : batch.x0.shape[1]]
    squares = (process.target(batch.x0, batch.t, batch.noise) - predicted) ** 2
    mean = squares.flatten(1).mean(1)
    weights = process.loss_weights
    return mean if weights is None else mean * weights.at(batch.t, mean)


def _bound(process: ReverseProcess, batch: Noised, output: Tensor) -> Tensor:
    # not clipped: the gradient must not end at the border
    p = process.reverse(output, batch.x_t, batch.t)
    posterior = process.q_posterior(batch.x0, batch.x_t, batch.t)
    bits = bound_bits(batch.x0, batch.t, posterior, p.mean, p.log_variance)
    return tamed(bits) if process.predicts_what_is_seen else bits


def tamed(bits: Tensor, limit: float = _TAME) -> Tensor:
    """The bits, but limit * (1 + log(bits / limit)) above the limit; smooth and increasing.

    Args:
        bits: any shape.
        limit: up to which they are left as they are.

    Returns:
        Of the same shape.
    """
    # the logarithm of a number below 0 would poison the gradient of the other branch
    above = limit * (1 + (bits.clamp(min=limit) / limit).log())
    return torch.where(bits > limit, above, bits)


def _vlb(process: ReverseProcess, batch: Noised, output: Tensor) -> Tensor:
    return process.num_timesteps * _bound(process, batch, output)


def _hybrid(process: ReverseProcess, batch: Noised, output: Tensor) -> Tensor:
    simple = _simple(process, batch, output)
    if process.variance not in LEARNED:
        return simple
    num_channels = batch.x0.shape[1]
    frozen = torch.cat((output[:, :num_channels].detach(), output[:, num_channels:]), dim=1)
    return simple + process.num_timesteps / 1000 * _bound(process, batch, frozen)


LOSSES: dict[str, Callable[[ReverseProcess, Noised, Tensor], Tensor]] = {
    "simple": _simple,
    "hybrid": _hybrid,
    "vlb": _vlb,
}
