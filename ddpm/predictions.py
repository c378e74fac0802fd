"""What a network predicts, as four tables: the image that its output stands for, and its target.

With a = sqrt(alpha_bar_t), s = sqrt(1 - alpha_bar_t) and the posterior's mean c x_0 + d x_t
(forward_process.py),

    x0_hat = x0_from_xt * x_t + x0_from_output * output
    target = target_from_x0 * x_0 + target_from_noise * noise

    epsilon        1/a   -s/a        0    1     arXiv 2006.11239, equation 15
    sample          0     1          1    0
    v_prediction    a    -s         -s    a     arXiv 2202.00512, appendix D
    previous      -d/c   1/c     c + d a  d s   the mean of x_{t-1}; equation 8 of arXiv 2006.11239
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .tables import Table


class Prediction(NamedTuple):
    """The four tables of a kind of prediction."""

    x0_from_xt: Table
    x0_from_output: Table
    target_from_x0: Table
    target_from_noise: Table

    def keeping(self, timesteps: Tensor) -> "Prediction":
        """The tables of a chain that keeps these timesteps only, int64 (S,)."""
        return Prediction(*(table.keeping(timesteps) for table in self))


def _epsilon(a: Tensor, s: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, ...]:
    return 1 / a, -s / a, torch.zeros_like(a), torch.ones_like(a)


def _sample(a: Tensor, s: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, ...]:
    return torch.zeros_like(a), torch.ones_like(a), torch.ones_like(a), torch.zeros_like(a)


def _v_prediction(a: Tensor, s: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, ...]:
    return a, -s, -s, a


def _previous(a: Tensor, s: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, ...]:
    return -d / c, 1 / c, c + d * a, d * s


_KINDS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "epsilon": _epsilon,
    "sample": _sample,
    "v_prediction": _v_prediction,
    "previous": _previous,
}
PREDICTIONS = tuple(_KINDS)


def prediction_tables(
    kind: str, alphas_cumprod: Tensor, coef1: Tensor, coef2: Tensor
) -> Prediction:
    """The tables of one kind.

    Args:
        kind: one of `PREDICTIONS`.
        alphas_cumprod: alpha_bar, float64 (T,).
        coef1: c of the network's own chain, float64 (T,).
        coef2: d of the same.

    Returns:
        [`Prediction`].
    """
    signal = alphas_cumprod.sqrt()
    noise = (1 - alphas_cumprod).sqrt()
    return Prediction(*map(Table, _KINDS[kind](signal, noise, coef1, coef2)))


def capped_snr_weights(alphas_cumprod: Tensor, predicted: Prediction, gamma: float) -> Table:
    """min(SNR_t, gamma) (d x0_hat / d output)^2: the error of the image counts, but for a cap.

    Whatever the network predicts, an error of the image that it means weighs the same: by the
    signal-to-noise ratio, which is capped where the image is nearly clean. Where nothing of the
    image is left (SNR_t = 0: the last step of a zero-terminal-SNR schedule, where sampling begins)
    the weight is 1, or nothing would be learned there.
    Source: arXiv 2303.09556, section 3.4; arXiv 2305.08891 for those schedules.

    Args:
        alphas_cumprod: alpha_bar, float64 (T,).
        predicted: what the output means.
        gamma: the cap; 5 is usual.

    Returns:
        The weight of each timestep in the simple loss.
    """
    snr = alphas_cumprod / (1 - alphas_cumprod)
    weights = snr.clamp(max=gamma) * predicted.x0_from_output.values**2
    return Table(torch.where(snr > 0, weights, 1.0))


def clipping(clip: bool | str | None) -> Callable[[Tensor], Tensor]:
    """How a predicted image is brought back to the range of images.

    Args:
        clip: True or "static" = to [-1, 1]; "dynamic" = [`dynamic_threshold`]; False or None = not
            at all.

    Returns:
        A function of images.

    Raises:
        ValueError: if it is none of these.
    """
    if clip is None or isinstance(clip, bool):
        clip = "static" if clip else "none"
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "static": lambda x0: x0.clamp(-1, 1),
        "dynamic": dynamic_threshold,
        "none": lambda x0: x0,
    }
    if not isinstance(clip, str) or clip not in functions:
        raise ValueError(f"clip is {clip!r}; expected True, False, 'static' or 'dynamic'.")
    return functions[clip]


def dynamic_threshold(x0: Tensor, quantile: float = 0.995) -> Tensor:
    """Clips each image to its own s, a quantile of its absolute values, 1 or more; divides by it.

    Source: arXiv 2205.11487, section 2.3.

    Args:
        x0: images (B, C, H, W).
        quantile: share of the values that are not clipped.

    Returns:
        Images in [-1, 1].
    """
    # torch.quantile takes no more than 2^24 numbers
    ranked = x0.abs().flatten(1).float().sort(1).values
    last = ranked.shape[1] - 1
    place = quantile * last
    low = ranked[:, int(place)]
    high = ranked[:, min(int(place) + 1, last)]
    threshold = torch.lerp(low, high, place - int(place)).clamp(min=1).to(x0.dtype)
    threshold = threshold.view(-1, *[1] * (x0.ndim - 1))
    return x0.clamp(-threshold, threshold) / threshold
