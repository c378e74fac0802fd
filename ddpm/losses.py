"""The losses of a noised batch, one number an image.

    simple   weight_t * mean over dimensions of (target - prediction)^2               arXiv 2006.11239, equation 14
    vlb      T * L_t, L_t the bound's term at t, bits per dimension; the mean over t is the bound without its prior
    hybrid   simple + T / 1000 * L_t, where L_t teaches the variance alone            arXiv 2102.09672, equation 16

For T = 1000 the hybrid loss is simple + L_t. A fixed variance has nothing to learn, so that hybrid
is simple. The weight is 1, or min(SNR_t, gamma) (d x0_hat / d output)^2 with `min_snr_gamma`: the
error of the image, weighted by a capped signal-to-noise ratio (arXiv 2303.09556, section 3.4),
whatever the network predicts.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .gaussians import discretised_log_prob, gaussian_kl
from .variances import LEARNED


class Noised(NamedTuple):
    """A batch of the forward process: images (B, C, H, W), timesteps (B,) or one number, noise and
    what they make.
    """

    x0: Tensor
    t: Tensor | int
    noise: Tensor
    x_t: Tensor


def bound_bits(
    x0: Tensor, t: Tensor | int, posterior: tuple[Tensor, ...], mean: Tensor, log_variance: Tensor
) -> Tensor:
    """L_t, the term of the bound at t: the divergence of p from the posterior, or at t = 0 the
    decoder's log-loss.

    Args:
        x0: images (B, C, H, W), grey values in [-1, 1].
        t: int64 (B,), or one number for all.
        posterior: mean, variance and log-variance of q(x_{t-1} | x_t, x_0).
        mean: of p(x_{t-1} | x_t).
        log_variance: of the same, natural logarithm.

    Returns:
        (B,), bits per dimension. Source: arXiv 2006.11239, equations 5 and 13.
    """
    log_variance = log_variance.expand_as(mean)
    if isinstance(t, int):
        nats = (
            _decoder(x0, mean, log_variance)
            if t == 0
            else _divergence(posterior, mean, log_variance)
        )
    else:
        decodes = t == 0
        nats = _divergence(posterior, mean, log_variance)
        if x0.device.type != "cpu" or decodes.any():  # a GPU would have to wait for the answer
            chosen = decodes.view(-1, *[1] * (x0.ndim - 1))
            nats = torch.where(chosen, _decoder(x0, mean, log_variance), nats)
    return nats.flatten(1).mean(1) / math.log(2)


def _decoder(x0: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    return -discretised_log_prob(x0, mean, log_variance).to(mean.dtype)


def _divergence(posterior: tuple[Tensor, ...], mean: Tensor, log_variance: Tensor) -> Tensor:
    posterior_mean, _, posterior_log_variance = posterior
    return gaussian_kl(posterior_mean, posterior_log_variance, mean, log_variance)


def _simple(diffusion: Any, batch: Noised, output: Tensor) -> Tensor:
    predicted = output[:, : batch.x0.shape[1]]
    squares = (diffusion.target(batch.x0, batch.t, batch.noise) - predicted) ** 2
    mean = squares.flatten(1).mean(1)
    return (
        mean if diffusion.loss_weights is None else mean * diffusion.loss_weights.at(batch.t, mean)
    )


def _bound(diffusion: Any, batch: Noised, output: Tensor) -> Tensor:
    p = diffusion.reverse(
        output, batch.x_t, batch.t
    )  # not clipped: the gradient must not end at the border
    posterior = diffusion.q_posterior(batch.x0, batch.x_t, batch.t)
    return bound_bits(batch.x0, batch.t, posterior, p.mean, p.log_variance)


def _vlb(diffusion: Any, batch: Noised, output: Tensor) -> Tensor:
    return diffusion.num_timesteps * _bound(diffusion, batch, output)


def _hybrid(diffusion: Any, batch: Noised, output: Tensor) -> Tensor:
    simple = _simple(diffusion, batch, output)
    if diffusion.variance not in LEARNED:
        return simple
    num_channels = batch.x0.shape[1]
    frozen = torch.cat((output[:, :num_channels].detach(), output[:, num_channels:]), dim=1)
    return simple + diffusion.num_timesteps / 1000 * _bound(diffusion, batch, frozen)


LOSSES: dict[str, Callable[[Any, Noised, Tensor], Tensor]] = {
    "simple": _simple,
    "hybrid": _hybrid,
    "vlb": _vlb,
}
