"""Draws: from logits and one uniform number a position to tokens and their log-probabilities.

Shapes: B batch, K positions, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.generation import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

# logits (B, K, V), uniforms (B, K) -> tokens int64 (B, K), log-probabilities float64 (B, K), nats
Draw = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
# logits (B, K, V) -> logits (B, K, V) of the distribution that tokens are drawn from
Warp = Callable[[Tensor], Tensor]


def warping(
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Warp | None:
    """Logits warped as transformers does, in its order: temperature, top_k, top_p, min_p.

    Args:
        temperature: the logits are divided by it; None = 1.
        top_k: only the so many likeliest tokens; None = all.
        top_p: only the likeliest tokens that reach this probability together; None = all.
        min_p: only tokens of at least this share of the likeliest one's probability; None = all.

    Returns:
        The warp; None where it would change nothing.
    """
    warpers = LogitsProcessorList()
    if temperature not in (None, 1.0):
        warpers.append(TemperatureLogitsWarper(float(temperature)))
    if top_k is not None:
        warpers.append(TopKLogitsWarper(int(top_k)))
    if top_p not in (None, 1.0):
        warpers.append(TopPLogitsWarper(float(top_p)))
    if min_p is not None:
        warpers.append(MinPLogitsWarper(float(min_p)))

    def warp(logits_BKV: Any) -> Tensor:
        no_ids: Any = None  # they take rows (N, V) and do not look at ids
        return warpers(no_ids, logits_BKV.flatten(0, 1).float()).view(logits_BKV.shape)

    return warp if warpers else None


def sampling(warp: Warp | None = None) -> Draw:
    """Tokens drawn from softmax(logits); with a warp, from what that makes of them.

    Args:
        warp: of [`warping`].

    Returns:
        The draw.
    """

    def draw(logits_BKV: Tensor, uniforms_BK: Tensor) -> tuple[Tensor, Tensor]:
        if warp is not None:
            logits_BKV = warp(logits_BKV)
        probs_BKV = _probabilities(logits_BKV)
        tokens_BK = inverse_cdf(probs_BKV, uniforms_BK)
        return tokens_BK, _log_probs(probs_BKV, tokens_BK)

    return draw


def most_likely(logits_BKV: Tensor, uniforms_BK: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest token of each position, and its log-probability: a draw without chance."""
    tokens_BK = logits_BKV.argmax(-1)
    return tokens_BK, _log_probs(_probabilities(logits_BKV), tokens_BK)


def inverse_cdf(probs: Tensor, uniforms: Tensor) -> Tensor:
    """The categorical draw that one uniform number stands for.

    Args:
        probs: float64 (..., V), not necessarily normalised.
        uniforms: float64 (...), multiples of 2^-52 in [0, 1): then u * total < total holds after
            rounding too.

    Returns:
        int64 (...), the first category whose cumulative probability exceeds u * total: never one of
        probability 0.
    """
    cumulative = probs.cumsum(-1)
    targets = uniforms[..., None] * cumulative[..., -1:]
    first = torch.searchsorted(cumulative, targets, right=True).squeeze(-1)
    # only NaN goes beyond the last one: its log-probability tells the caller
    return first.clamp(max=probs.shape[-1] - 1)


def _probabilities(logits_BKV: Tensor) -> Tensor:
    """float64: float32 noise cuts off the tail of the distribution (arXiv 2409.02908)."""
    return logits_BKV.softmax(-1, dtype=torch.float64)


def _log_probs(probs_BKV: Tensor, tokens_BK: Tensor) -> Tensor:
    return probs_BKV.gather(-1, tokens_BK[..., None]).squeeze(-1).log()
