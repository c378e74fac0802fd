"""NELBO: the bound on -log p(x) that an order-agnostic model is trained on, with its standard error.

    NELBO(x) = E_order sum_t -log p(x[order[t]] | x[order[:t]]) = E_m E_order  L * mean over the m masked of CE

with m uniform on 1..L (arXiv 2110.02037, equation 2, reweighted in section 3): each draw of (m, order) costs one
network call and gives an unbiased estimate; all masked positions count, not only the next one. float64 nats throughout.

Shapes: B batch, L length, R draws of a row, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .masking import (
    IGNORED,
    check_ids,
    mask_last,
    maskable_tokens,
    mean_cross_entropy,
    order_uniforms,
    stratified_num_masked,
)
from .randomness import draw_seed, keyed_uniforms

_COUNT_STREAM = 21
_TOKENS_A_CALL = 16_384  # positions per network call unless `batch_size` says otherwise


@dataclass
class NELBOOutput:
    """An upper bound on -log p(x) of each sequence, estimated.

    Args:
        nats: float64 (B,).
        standard_error: float64 (B,), nats; NaN for a single draw.
        num_tokens: int64 (B,), tokens that the bound is over.
    """

    nats: Tensor
    standard_error: Tensor
    num_tokens: Tensor

    @property
    def bits_per_token(self) -> Tensor:
        """float64 (B,), bits; NaN for a row without tokens."""
        return self.nats / self.num_tokens / math.log(2)

    @property
    def bits_per_token_standard_error(self) -> Tensor:
        """float64 (B,), bits."""
        return self.standard_error / self.num_tokens / math.log(2)


@torch.no_grad()
def nelbo(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    num_samples: int | Literal["all"] = 8,
    prompt_mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> NELBOOutput:
    """Estimates each row's negative evidence lower bound.

    The counts of a row are stratified: its draws come in pairs, each pair from one of num_samples / 2 equal ranges
    of counts. The two of a pair differ by chance alone, which gives an unbiased standard error.

    Args:
        model: the network, in evaluation mode; called with `input_ids`, `attention_mask`, `logits_positions`.
        input_ids: int64 (B, L), without masks.
        attention_mask: (B, L), 1 on real tokens, 0 on padding on either side.
        num_samples: draws of (count, order) a row; "all" = every count 1..L once, each with its own order: no
            sampling error in the count.
        prompt_mask: (B, L), 1 on tokens that are given: the bound is on -log p(rest | prompt).
        generator: source of randomness on any device; None = torch's global one. Row r's draws depend on it and r only.
        batch_size: sequences per network call; None = about 16,000 tokens. It does not change the result.

    Returns:
        [`NELBOOutput`].

    Raises:
        ValueError: on ids of the wrong shape, type or range, mask ids among them, or a `num_samples` below 1.
    """
    mask_token_id = model.config.mask_token_id
    if num_samples != "all" and (not isinstance(num_samples, int) or num_samples < 1):
        raise ValueError(f"num_samples is {num_samples!r}; expected an integer of at least 1, or 'all'.")
    maskable_BL = scored_tokens(model.config, input_ids, attention_mask, prompt_mask)
    chunk = sequences_per_call(batch_size, input_ids.shape[1])
    num_tokens_B = maskable_BL.sum(1)
    if not num_tokens_B.any():
        nothing = num_tokens_B.double()
        return NELBOOutput(nothing, nothing, num_tokens_B)
    seed, length = draw_seed(generator), input_ids.shape[1]
    row_N, draw_N = _draws(num_tokens_B, num_samples)

    counts_N = _counts(num_tokens_B[row_N], row_N, draw_N, num_samples, seed)
    terms_N = torch.empty(len(row_N), dtype=torch.float64, device=input_ids.device)
    place_BL = (maskable_BL.long().cumsum(1) - 1).clamp(min=0)  # so that padding does not change a row's orders
    for begin in range(0, len(row_N), chunk):
        part = slice(begin, begin + chunk)
        rows, draws, counts = row_N[part], draw_N[part], counts_N[part]
        uniforms = order_uniforms(seed, rows * 2**32 + draws, length).gather(1, place_BL[rows])
        masked_ids, labels = mask_last(input_ids[rows], mask_token_id, maskable_BL[rows], counts, uniforms)
        positions = labels != IGNORED
        attention = None if attention_mask is None else attention_mask[rows]
        logits = model(input_ids=masked_ids, attention_mask=attention, logits_positions=positions).logits
        terms_N[part] = mean_cross_entropy(logits.double(), labels, positions)
    terms_N *= num_tokens_B[row_N]
    return _summarise(terms_N, row_N, num_tokens_B, num_samples)


def scored_tokens(config: Any, input_ids: Tensor, attention_mask: Tensor | None, prompt_mask: Tensor | None) -> Tensor:
    """bool (B, L): the tokens whose probability is asked for. Raises ValueError on ids for which it can only be 0."""
    check_ids(input_ids, config.vocab_size)
    scored_BL = maskable_tokens(input_ids, config.mask_token_id, attention_mask, prompt_mask)
    for name in ("mask_token_id", "pad_token_id"):
        impossible = getattr(config, name, None)
        if impossible is not None and ((input_ids == impossible) & scored_BL).any():
            raise ValueError(
                f"input_ids holds the {name[:-9]} id {impossible} among its real tokens, whose probability is 0; "
                "expected text without it, or an attention_mask that is 0 there."
            )
    return scored_BL


def sequences_per_call(batch_size: int | None, length: int) -> int:
    """The caller's number, checked, or as many sequences as hold about 16,000 tokens. Raises ValueError if below 1."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1.")
    return batch_size or max(1, _TOKENS_A_CALL // max(length, 1))


def _draws(num_tokens_B: Tensor, num_samples: int | str) -> tuple[Tensor, Tensor]:
    """The row and the number within the row of every draw, int64 (N,) each."""
    per_row_B = num_tokens_B if num_samples == "all" else (num_tokens_B > 0) * int(num_samples)
    row_N = torch.arange(len(per_row_B), device=per_row_B.device).repeat_interleave(per_row_B)
    first_B = per_row_B.cumsum(0) - per_row_B
    return row_N, torch.arange(len(row_N), device=row_N.device) - first_B[row_N]


def _counts(num_tokens_N: Tensor, row_N: Tensor, draw_N: Tensor, num_samples: int | str, seed: int) -> Tensor:
    """How many tokens each draw masks."""
    if num_samples == "all":
        return draw_N + 1
    num_strata = max(int(num_samples) // 2, 1)
    uniforms_N = (draw_N % num_strata + keyed_uniforms(seed, _COUNT_STREAM, row_N, draw_N)) / num_strata
    return stratified_num_masked(num_tokens_N, uniforms_N)


def _summarise(terms_N: Tensor, row_N: Tensor, num_tokens_B: Tensor, num_samples: int | str) -> NELBOOutput:
    batch_size = len(num_tokens_B)
    if num_samples == "all":
        per_row = terms_N.split(num_tokens_B.tolist())
        # mean over the counts; each term is L * mean CE
        nats = torch.stack([terms.mean() if len(terms) else terms.new_zeros(()) for terms in per_row])
        variance = torch.stack([_smooth_residual_variance(terms / max(len(terms), 1)) for terms in per_row])
        return NELBOOutput(nats, variance.sqrt(), num_tokens_B)
    draws, num_strata = int(num_samples), max(int(num_samples) // 2, 1)
    nats = terms_N.new_zeros(batch_size)
    variance = terms_N.new_zeros(batch_size)
    terms_BR = terms_N.new_zeros(batch_size, draws)
    terms_BR[num_tokens_B > 0] = terms_N.view(-1, draws)
    for stratum in range(num_strata):
        inside_BK = terms_BR[:, stratum::num_strata]
        nats += inside_BK.mean(1) / num_strata
        spread = inside_BK.var(1) if inside_BK.shape[1] > 1 else torch.full_like(nats, torch.nan)
        variance += spread / inside_BK.shape[1] / num_strata**2
    return NELBOOutput(nats, variance.sqrt(), num_tokens_B)


def _smooth_residual_variance(terms: Tensor) -> Tensor:
    """Variance of the sum of one independent term for each count m = 1..n, whose means change smoothly with m.

    A term against the mean of its neighbours shows its noise without the trend. Variances are taken to fall with m
    like those of a mean over m of n tokens drawn without replacement, 1/m - 1/n: 0 for m = n, where all is masked.
    """
    num_terms = len(terms)
    if num_terms < 3:  # no neighbours on both sides; for one token there is nothing random
        return terms.new_zeros(()) if num_terms < 2 else (terms[0] - terms[1]) ** 2
    shape = 1 / torch.arange(1, num_terms + 1, dtype=terms.dtype, device=terms.device) - 1 / num_terms
    residuals = terms[1:-1] - (terms[:-2] + terms[2:]) / 2
    expected = shape[1:-1] + (shape[:-2] + shape[2:]) / 4
    return (residuals**2).sum() / expected.sum() * shape.sum()
