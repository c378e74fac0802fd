"""NELBO: the bound on -log p(x) that the training minimises, with its standard error.

    NELBO(x) = E_order sum_t -log p(x[order[t]] | x[order[:t]])
             = E_m E_order  L * mean over the m masked of CE

with m uniform on 1..L (arXiv 2110.02037, equation 2, reweighted in section 3): each masked version
(m, order) of a row costs one sequence through the network and gives an unbiased estimate; all
masked positions count, not only the next one. With S stages m is the number of reveals left, of
1..S*L, and the mean that of the next reveal (stages.py). float64 nats throughout.

Shapes: B batch, L length, S stages, R versions of a row, N versions of all rows, J orders.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .checks import check_integer
from .masked_losses import Versions, masked_losses, row_numbers_of
from .networks import MaskedLanguageModel, evaluating
from .randomness import keyed_uniforms, seed_from
from .reveals import stratified_num_left
from .stages import Stages
from .target_rows import target_rows

_MOST = 2**20  # versions of a row: their keys and losses are kept in memory
_COUNT_STREAM = 21


@dataclass
class NELBOOutput:
    """An upper bound on -log p(x) of each sequence, estimated.

    Args:
        nats: float64 (B,).
        standard_error: float64 (B,), nats; NaN for a single version.
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


def nelbo(
    model: MaskedLanguageModel,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    num_samples: int | Literal["all"] = 8,
    num_orders: int = 1,
    prompt_mask: Tensor | None = None,
    row_numbers: Tensor | None = None,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> NELBOOutput:
    """Estimates each row's negative evidence lower bound.

    The counts of a row are stratified: its versions come in pairs, each pair from one of
    num_samples / 2 equal ranges of counts. The two of a pair differ by chance alone, which gives an
    unbiased squared standard error. With "all" and one order it supposes that the losses change
    smoothly with the count: a few percent too large on trained models, up to a quarter for fewer
    than ten tokens. Two orders or more need no such assumption.

    Args:
        model: the network; called with `input_ids`, `attention_mask`, `logits_positions`, without
            dropout.
        input_ids: int64 (B, L), without masks.
        attention_mask: (B, L), 1 on real tokens, 0 on padding on either side.
        num_samples: masked versions (count, order) of a row; "all" = every count 1..L (of S stages
            1..S*L), each with its own order: no sampling error in the count.
        num_orders: with "all", how many orders at each count.
        prompt_mask: (B, L), 1 on tokens that are given: the bound is on -log p(rest | prompt).
        row_numbers: int64 (B,) in 0..2^31-1, what keys the rows' versions, e.g. their places in a
            data set of which this batch is a part; None = their places in the batch.
        generator: source of randomness on any device; None = torch's global one. A row's versions
            depend on it and on the row's number only.
        batch_size: sequences per network call; None = by memory. It does not change the result.

    Returns:
        [`NELBOOutput`].

    Raises:
        ValueError: on ids of the wrong shape, type or range, mask ids among them, masks that do not
            fit them, a number out of range, or if the network returns NaN.
    """
    if num_samples != "all":
        num_samples = check_integer("num_samples", num_samples, 1, _MOST, others=" or 'all'")
    check_num_orders(num_orders, input_ids)
    if num_orders > 1 and num_samples != "all":
        raise ValueError(
            f"num_orders is {num_orders} with num_samples={num_samples};"
            " expected num_samples='all'."
        )
    rows = target_rows(model, input_ids, attention_mask, prompt_mask)
    num_tokens_B = rows.num_tokens_B
    seed = seed_from(generator)
    numbers_B = row_numbers_of(row_numbers, input_ids)
    if not num_tokens_B.any():
        nothing = num_tokens_B.double()
        return NELBOOutput(nothing, nothing, num_tokens_B)
    stages = rows.stages
    num_reveals_B = num_tokens_B * stages.num_stages
    if num_samples == "all":
        versions = every_count(num_reveals_B, numbers_B, num_orders)
    else:
        versions = _stratified(num_tokens_B, numbers_B, num_samples, seed, stages)
    with evaluating(model):
        losses_N = masked_losses(rows, versions, seed, batch_size)
    if num_samples == "all":
        return _over_all_counts(losses_N, num_tokens_B, num_orders, stages)
    return _over_strata(losses_N * num_reveals_B[versions.row], num_tokens_B, num_samples)


def check_num_orders(num_orders: int, input_ids: Tensor) -> None:
    """Raises ValueError unless it is a number whose versions of a row can be kept in memory."""
    length = input_ids.shape[-1] if isinstance(input_ids, Tensor) and input_ids.ndim else 1
    check_integer("num_orders", num_orders, 1, max(_MOST // max(length, 1), 1))


def every_count(num_reveals_B: Tensor, numbers_B: Tensor, num_orders: int) -> Versions:
    """Every count 1..n of each row, `num_orders` times, row after row; first order first.

    Args:
        num_reveals_B: int64 (B,), n.
        numbers_B: int64 (B,), what keys the rows.
        num_orders: orders at each count.

    Returns:
        The versions.
    """
    row_N, version_N = _rows_and_versions(num_reveals_B * num_orders)
    num_left_N = 1 + version_N % num_reveals_B[row_N]
    return Versions(row_N, _keys(numbers_B[row_N], version_N), num_left_N)


def by_row(losses_N: Tensor, num_reveals_B: Tensor, num_orders: int) -> list[Tensor]:
    """[`every_count`]'s losses as (num_orders, n) for each row, by number left 1..n."""
    parts = losses_N.split((num_reveals_B * num_orders).tolist())
    return [part.view(num_orders, len(part) // num_orders) for part in parts]


def _stratified(
    num_tokens_B: Tensor, numbers_B: Tensor, num_samples: int, seed: int, stages: Stages
) -> Versions:
    """`num_samples` versions of each row, two in each of num_samples / 2 equal ranges of counts."""
    row_N, version_N = _rows_and_versions((num_tokens_B > 0) * num_samples)
    num_strata = max(num_samples // 2, 1)
    number_N = numbers_B[row_N]
    jitter_N = keyed_uniforms(seed, _COUNT_STREAM, number_N, version_N)
    uniforms_N = (version_N % num_strata + jitter_N) / num_strata
    num_left_N = stratified_num_left(num_tokens_B[row_N], uniforms_N, stages)
    return Versions(row_N, _keys(number_N, version_N), num_left_N)


def _rows_and_versions(per_row_B: Tensor) -> tuple[Tensor, Tensor]:
    """The row and the number within the row of every version, int64 (N,) each."""
    row_N = torch.arange(len(per_row_B), device=per_row_B.device).repeat_interleave(per_row_B)
    first_B = per_row_B.cumsum(0) - per_row_B
    return row_N, torch.arange(len(row_N), device=row_N.device) - first_B[row_N]


def _keys(number_N: Tensor, version_N: Tensor) -> Tensor:
    return number_N * 2**32 + version_N


def _over_strata(terms_N: Tensor, num_tokens_B: Tensor, num_samples: int) -> NELBOOutput:
    """Mean of the strata's means, and its error from the spread inside each."""
    num_strata = max(num_samples // 2, 1)
    nats = terms_N.new_zeros(len(num_tokens_B))
    variance = terms_N.new_zeros(len(num_tokens_B))
    terms_BR = terms_N.new_zeros(len(num_tokens_B), num_samples)
    terms_BR[num_tokens_B > 0] = terms_N.view(-1, num_samples)
    for stratum in range(num_strata):
        inside_BK = terms_BR[:, stratum::num_strata]
        nats += inside_BK.mean(1) / num_strata
        spread = inside_BK.var(1) if inside_BK.shape[1] > 1 else torch.full_like(nats, torch.nan)
        variance += spread / inside_BK.shape[1] / num_strata**2
    return NELBOOutput(nats, variance.sqrt(), num_tokens_B)


def _over_all_counts(
    losses_N: Tensor, num_tokens_B: Tensor, num_orders: int, stages: Stages
) -> NELBOOutput:
    """N * mean over the counts = the sum of a row's losses; its variance is the sum of theirs."""
    rows_JN = by_row(losses_N, num_tokens_B * stages.num_stages, num_orders)
    of_sum = _smooth_residual_variance if num_orders == 1 else _variance_between_orders
    nats = torch.stack([losses_JN.mean(0).sum() for losses_JN in rows_JN])
    nothing = nats.new_zeros(())
    variance = torch.stack(
        [sum(map(of_sum, _smooth_parts(losses_JN, stages)), nothing) for losses_JN in rows_JN]
    )
    return NELBOOutput(nats, variance.sqrt(), num_tokens_B)


def _smooth_parts(losses_JN: Tensor, stages: Stages) -> Sequence[Tensor]:
    """What changes smoothly with the count: the losses of a stage, or interleaved all of them."""
    one_token = losses_JN.shape[1] == stages.num_stages
    parts = 1 if stages.interleaved and not one_token else stages.num_stages
    return losses_JN.chunk(parts, 1)


def _variance_between_orders(losses_JL: Tensor) -> Tensor:
    return (losses_JL.var(0) / len(losses_JL)).sum()


def _smooth_residual_variance(losses_1L: Tensor) -> Tensor:
    """Variance of a sum of independent losses, one a count m = 1..n, with means smooth in m.

    A loss against the mean of its neighbours shows its noise without the trend. Near each m
    variances are taken to fall like those of a mean over m of n tokens drawn without replacement,
    1/m - 1/n: 0 for m = n, where all is masked.
    """
    losses = losses_1L[0]
    num = len(losses)
    if num < 3:  # no neighbours on both sides; for one token there is nothing random
        return losses.new_zeros(()) if num < 2 else (losses[0] - losses[1]) ** 2
    shape = 1 / torch.arange(1, num + 1, dtype=losses.dtype, device=losses.device) - 1 / num
    residuals = losses[1:-1] - (losses[:-2] + losses[2:]) / 2
    scale = residuals**2 / (shape[1:-1] + (shape[:-2] + shape[2:]) / 4)
    return scale[0] * shape[0] + (scale * shape[1:-1]).sum()
