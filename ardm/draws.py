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

from .generation_config_ardm import ARDMGenerationConfig

Draw = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_draw(config: ARDMGenerationConfig) -> Draw:
    """The function (logits (B, K, V), uniforms (B, K)) -> tokens, log-probabilities (B, K), by the
    settings.
    """
    warpers = LogitsProcessorList()
    if config.do_sample and config.temperature not in (None, 1.0):
        warpers.append(TemperatureLogitsWarper(float(config.temperature)))
    if config.do_sample and config.top_k is not None:
        warpers.append(TopKLogitsWarper(int(config.top_k)))
    if config.do_sample and config.top_p not in (None, 1.0):
        warpers.append(TopPLogitsWarper(float(config.top_p)))
    if config.do_sample and config.min_p is not None:
        warpers.append(MinPLogitsWarper(float(config.min_p)))

    def draw(logits_BKV: Any, uniforms_BK: Tensor) -> tuple[Tensor, Tensor]:
        if warpers:  # they take rows (N, V) and do not look at ids
            no_ids: Any = None
            logits_BKV = warpers(no_ids, logits_BKV.flatten(0, 1).float()).view(logits_BKV.shape)
        # float64: float32 noise cuts off the tail of the distribution (arXiv 2409.02908)
        probs_BKV = logits_BKV.softmax(-1, dtype=torch.float64)
        tokens_BK = (
            inverse_cdf(probs_BKV, uniforms_BK) if config.do_sample else logits_BKV.argmax(-1)
        )
        return tokens_BK, probs_BKV.gather(-1, tokens_BK[..., None]).squeeze(-1).log()

    return draw


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
    first = torch.searchsorted(
        cumulative, uniforms[..., None] * cumulative[..., -1:], right=True
    ).squeeze(-1)
    return first.clamp(
        max=probs.shape[-1] - 1
    )  # only NaN goes beyond: its log-probability tells the caller
