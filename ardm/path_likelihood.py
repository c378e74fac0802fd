"""Likelihood along a path: the exact log-probability of a sequence under one order and one plan.

    log p(x | order, plan) = sum over groups G of the plan  sum over p in G  log p(x_p | x of the groups before G)

One token at a time this is one term of the bound's expectation over orders (arXiv 2110.02037, equation 2), a true
likelihood. Larger groups are those of the parallel sampler (section 3.1). Nothing is drawn: all steps of all rows are
known beforehand, and go through the network side by side. float64 nats throughout.

Shapes: B batch, L length, S groups, N (row, group) pairs, K the largest group of a call, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from .likelihood import scored_tokens, sequences_per_call
from .orders import check_order, generation_queue, order_to_rank
from .plans import check_plan, group_bounds


def log_prob(
    model: Any,
    input_ids: Tensor,
    order: Tensor,
    *,
    plan: list[int] | None = None,
    attention_mask: Tensor | None = None,
    prompt_mask: Tensor | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """log p(x | order, plan) of each row, exactly.

    One token at a time (`plan=None`) this is a true log-likelihood, not a bound: that of the autoregressive model which
    visits the positions in this order. With larger groups, whose tokens are independent given what is known before
    them, it is the log-probability with which `generate` draws x by this order and plan: another distribution, which
    sums to 1 as well. Either way, a row costs one sequence through the network for each group.

    Args:
        model: the network, in evaluation mode; called with `input_ids`, `attention_mask`, `logits_positions`.
        input_ids: int64 (B, L), without masks.
        order: int64 (L,) or (B, L), permutations of all positions; padding and given tokens are skipped.
        plan: group sizes that sum to every row's number of scored tokens; None = one at a time.
        attention_mask: (B, L), 1 on real tokens, 0 on padding on either side.
        prompt_mask: (B, L), 1 on tokens that are given: log p(rest | prompt).
        batch_size: sequences per network call; None = about 16,000 tokens. It does not change the result.

    Returns:
        float64 (B,), nats; 0 for a row without scored tokens.

    Raises:
        ValueError: on ids of the wrong shape, type or range, mask or pad ids among the real tokens, an order that is no
            permutation, a plan that does not sum to every row's number of scored tokens, or a `batch_size` below 1.
    """
    return _position_log_probs(model, input_ids, order, plan, attention_mask, prompt_mask, batch_size).sum(1)


@torch.no_grad()
def _position_log_probs(
    model: Any,
    input_ids: Tensor,
    order: Tensor,
    plan: list[int] | None,
    attention_mask: Tensor | None,
    prompt_mask: Tensor | None,
    batch_size: int | None,
) -> Tensor:
    """float64 (B, L), nats: each position's term of [`log_prob`], 0 where nothing is scored."""
    scored_tokens(model.config, input_ids, attention_mask, None)  # a mask or padding is no given token either
    scored_BL = scored_tokens(model.config, input_ids, attention_mask, prompt_mask)
    chunk, input_ids = sequences_per_call(batch_size, input_ids.shape[1]), input_ids.long()
    order_BL = check_order(order, *input_ids.shape).to(input_ids.device)
    queue_BL = generation_queue(order_to_rank(order_BL), scored_BL)
    rank_BL = order_to_rank(queue_BL)  # among the scored positions

    row_N, begin_N, end_N = _groups(plan, scored_BL.sum(1))
    log_probs_BL = torch.zeros(input_ids.shape, dtype=torch.float64, device=input_ids.device)
    for first in range(0, len(row_N), chunk):
        part = slice(first, first + chunk)
        rows_N, begin_N1, end_N1 = row_N[part], begin_N[part, None], end_N[part, None]
        width = int((end_N1 - begin_N1).max())
        # smaller groups repeat their last position: the same term, written twice
        index_NK = torch.minimum(begin_N1 + torch.arange(width, device=input_ids.device), end_N1 - 1)
        positions_NK = queue_BL[rows_N].gather(1, index_NK)
        hidden_NL = scored_BL[rows_N] & (rank_BL[rows_N] >= begin_N1)
        attention_NL = None if attention_mask is None else attention_mask[rows_N]
        terms_NK = _log_probs_at(model, input_ids[rows_N], hidden_NL, attention_NL, positions_NK)
        log_probs_BL[rows_N[:, None], positions_NK] = terms_NK
    return log_probs_BL


def _log_probs_at(
    model: Any, ids_NL: Tensor, hidden_NL: Tensor, attention_NL: Tensor | None, positions_NK: Tensor
) -> Tensor:
    """log p(x_p | what is not hidden) at the positions, float64 (N, K): one call of the network."""
    masked_NL = ids_NL.masked_fill(hidden_NL, model.config.mask_token_id)
    logits_NKV = model(input_ids=masked_NL, attention_mask=attention_NL, logits_positions=positions_NK).logits
    tokens_NK1 = ids_NL.gather(1, positions_NK)[..., None]
    return logits_NKV.double().log_softmax(-1).gather(2, tokens_NK1)[..., 0]


def _groups(plan: list[int] | None, num_scored_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row of each (row, group) pair, and where in the row's queue the group begins and ends, int64 (N,) each."""
    # without a plan, as many groups of one as the longest row needs
    sizes = [1] * max(num_scored_B.tolist(), default=0) if plan is None else _checked(plan, num_scored_B)
    bounds_S = group_bounds([sizes])[0].to(num_scored_B.device)
    bounds_BS = torch.minimum(bounds_S, num_scored_B[:, None])  # a shorter row's last groups are empty
    # all rows' first groups, then all second ones: a plan's groups of one size share a call
    group_N, row_N = bounds_BS.diff(dim=1).t().nonzero(as_tuple=True)
    return row_N, bounds_BS[row_N, group_N], bounds_BS[row_N, group_N + 1]


def _checked(plan: list[int], num_scored_B: Tensor) -> list[int]:
    """The plan. Raises ValueError unless it is one for every row."""
    if not isinstance(plan, (list, tuple)):
        raise ValueError(f"plan is {plan!r}; expected a list of group sizes, or None for one token at a time.")
    wrong = (num_scored_B != sum(plan)).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(f"plan sums to {sum(plan)}; expected {num_scored_B[row]}, the scored tokens of row {row}.")
    return check_plan(list(plan), sum(plan))
