"""The bound on -log2 p(image): the divergence of p from q at every step, and what p starts from.

    -log p(x_0) <= KL(q(x_{T-1} | x_0) || N(0, I)) + sum over t of L_t
    L_t = KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)),    L_0 = -log p(x_0 | x at t = 0)

(arXiv 2006.11239, equations 5 and 13.) All in bits per dimension.
Shapes: B images (B, C, H, W), T timesteps.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ardm.training.progress import evaluating, progress_bar

from .denoisers import Denoiser, check_finite, check_images
from .gaussians import discretised_log_prob, gaussian_kl
from .predictions import clipping
from .reverse_process import ReverseProcess


class BitsPerDim(NamedTuple):
    """The bound, bits per dimension, float64: total (B,) = prior (B,) + sum of per_step (B, T).

    `per_step[:, 0]` is the decoder's term, `per_step[:, t]` the divergence of the step from t to
    t - 1.
    """

    total: Tensor
    prior: Tensor
    per_step: Tensor


def bits_per_dim(
    process: ReverseProcess,
    model: Denoiser,
    x0: Tensor,
    labels: Tensor | None = None,
    *,
    clip: bool | str = True,
    generator: torch.Generator | None = None,
    progress: bool | None = None,
) -> BitsPerDim:
    """All T terms of the bound, each with fresh noise.

    Args:
        process: the chain.
        model: a denoiser.
        x0: images (B, C, H, W), grey values k / 127.5 - 1.
        labels: int64 (B,), or None.
        clip: of the predicted image, as in `p_mean_variance`.
        generator: of the noise, on the device of the images or the CPU.
        progress: whether to show a progress bar; None = on a terminal.

    Returns:
        [`BitsPerDim`].

    Raises:
        ValueError: if images (at least one), labels or the network's output are not as they should
            be, or a term of the bound is not finite.
    """
    check_images(x0)
    clip_x0 = clipping(clip)
    device = x0.device if generator is None else generator.device
    terms = []
    with evaluating(model):
        for t in progress_bar(range(process.num_timesteps), what="bound", shown=progress):
            noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=device)
            x_t = process.q_sample(x0, t, noise.to(x0.device))
            p = process.reverse(process.call(model, x_t, t, labels), x_t, t, clip_x0)
            posterior = process.q_posterior(x0, x_t, t)
            terms.append(bound_bits(x0, t, posterior, p.mean, p.log_variance).double())
            if x0.device.type == "cpu":  # at once, not after all T terms
                check_finite(f"the bound's terms at t = {t}", terms[-1])
    prior = prior_bits(process, x0)
    per_step = check_finite("the bound's terms", torch.stack(terms, dim=1))
    return BitsPerDim(prior + per_step.sum(1), prior, per_step)


def prior_bits(process: ReverseProcess, x0: Tensor) -> Tensor:
    """KL(q(x_{T-1} | x_0) || N(0, I)), which no network can change.

    Args:
        process: the chain.
        x0: images (B, C, H, W).

    Returns:
        float64 (B,), bits per dimension.
    """
    last = process.alphas_cumprod[-1]
    mean = float(last.sqrt()) * x0.double()
    nats = gaussian_kl(mean, (1 - last).log().to(x0.device), 0.0, 0.0)
    return nats.flatten(1).mean(1) / math.log(2)


def bound_bits(
    x0: Tensor, t: Tensor | int, posterior: tuple[Tensor, ...], mean: Tensor, log_variance: Tensor
) -> Tensor:
    """L_t: the divergence of p from the posterior, or at t = 0 the decoder's log-loss.

    Args:
        x0: images (B, C, H, W), grey values in [-1, 1].
        t: int64 (B,), or one number for all.
        posterior: mean, variance and log-variance of q(x_{t-1} | x_t, x_0).
        mean: of p(x_{t-1} | x_t).
        log_variance: of the same, natural logarithm.

    Returns:
        (B,), bits per dimension.
    """
    log_variance = log_variance.expand_as(mean)
    if isinstance(t, int) and t == 0:
        nats = _decoder(x0, mean, log_variance)
    else:
        nats = _divergence(posterior, mean, log_variance)
    # a GPU would have to wait for the answer whether there is a 0
    if isinstance(t, Tensor) and (x0.device.type != "cpu" or (t == 0).any()):
        decodes = (t == 0).view(-1, *[1] * (x0.ndim - 1))
        nats = torch.where(decodes, _decoder(x0, mean, log_variance), nats)
    return nats.flatten(1).mean(1) / math.log(2)


def _decoder(x0: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    return -discretised_log_prob(x0, mean, log_variance).to(mean.dtype)


def _divergence(posterior: tuple[Tensor, ...], mean: Tensor, log_variance: Tensor) -> Tensor:
    posterior_mean, _, posterior_log_variance = posterior
    return gaussian_kl(posterior_mean, posterior_log_variance, mean, log_variance)
