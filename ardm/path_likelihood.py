"""Likelihood along a path: the exact log-probability of a sequence under one order and one plan.

    log p(x | order, plan) = sum over groups G of the plan
                             sum over p in G  log p(x_p | x of the groups before G)

One token at a time this is one term of the bound's expectation over orders (arXiv 2110.02037,
equation 2), a true likelihood. Larger groups are those of the parallel sampler (section 3.1).
Nothing is drawn: all steps of all rows are known beforehand, and go through the network side by
side. float64 nats throughout.

Shapes: B batch, L length, S groups, N (row, group) pairs, W positions looked at, K positions of the
largest group of a call, V vocabulary.
"""

from itertools import repeat

import torch
from torch import Tensor

from .checks import check_integer
from .masked_losses import sequences_per_call, target_tokens
from .networks import (
    MaskedLanguageModel,
    check_no_nan,
    evaluating,
    position_logits,
    select_positions,
)
from .orders import (
    DRAWN_ORDERS,
    ORDER_NAMES,
    CustomOrder,
    LogitOrder,
    check_order,
    generation_queue,
    logit_order,
    order_scores,
    order_to_rank,
)
from .plans import group_bounds
from .ranking import best

Order = Tensor | str | CustomOrder
# "random" is no path: every permutation of the positions is one of its own. Nor is an order that
# hangs on tokens which were drawn and not kept.
LIKELIHOOD_ORDERS = tuple(name for name in ORDER_NAMES if name not in ("random", *DRAWN_ORDERS))


def log_prob(
    model: MaskedLanguageModel,
    input_ids: Tensor,
    order: Order,
    *,
    plan: list[int] | None = None,
    attention_mask: Tensor | None = None,
    prompt_mask: Tensor | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """log p(x | order, plan) of each row, exactly.

    One token at a time (`plan=None`) this is a true log-likelihood, not a bound: that of the
    autoregressive model which visits the positions in this order. With larger groups, whose tokens
    are independent given what is known before them, it is the log-probability with which `generate`
    draws x by this order and plan: another distribution, which sums to 1 as well. Either way, a row
    costs one sequence through the network for each group.

    An order that looks at the logits chooses each position by the tokens known before it and by
    nothing else, so that the path belongs to x and the value is exact as well (DUEL, arXiv
    2603.01367). Its steps have to wait for each other: only rows go through the network side by
    side, while those of any other order do so too.

    Args:
        model: the network; called with `input_ids`, `attention_mask`, `logits_positions`, without
            dropout.
        input_ids: int64 (B, L), without masks.
        order: int64 (L,) or (B, L), permutations of all positions, of which padding and given
            tokens are skipped; "left_to_right", "right_to_left"; "confidence", "margin", "entropy";
            or a callable as for `generate`, which must not draw random numbers and gets None in
            place of a generator.
        plan: group sizes that sum to every row's number of tokens, without padding and given ones;
            None = one at a time.
        attention_mask: (B, L), 1 on real tokens, 0 on padding on either side.
        prompt_mask: (B, L), 1 on tokens that are given: log p(rest | prompt).
        batch_size: sequences per network call; None = by memory. It does not change the result.

    Returns:
        float64 (B,), nats; 0 for a row of given tokens alone.

    Raises:
        ValueError: on ids of the wrong shape, type or range, mask or pad ids among the real tokens,
            an order that is no permutation or of no known name, a plan that does not sum to every
            row's number of tokens, a `batch_size` below 1, or a network that returns NaN.
    """
    return _position_log_probs(
        model, input_ids, order, plan, attention_mask, prompt_mask, batch_size
    ).sum(1)


@torch.no_grad()
def _position_log_probs(
    model: MaskedLanguageModel,
    input_ids: Tensor,
    order: Order,
    plan: list[int] | None,
    attention_mask: Tensor | None,
    prompt_mask: Tensor | None,
    batch_size: int | None,
) -> Tensor:
    """float64 (B, L), nats: each position's term of [`log_prob`], 0 where there is none."""
    # a mask or padding is no given token either
    target_tokens(model.config, input_ids, attention_mask, None)
    target_BL = target_tokens(model.config, input_ids, attention_mask, prompt_mask)
    sizes = _sizes(plan, target_BL.sum(1))
    chunk = sequences_per_call(batch_size, input_ids, model.config.vocab_size)
    ids = input_ids.long()
    by_logits = logit_order(order)
    if by_logits is None or by_logits.of_draws:
        queue_BL = generation_queue(_known_scores(order, target_BL), target_BL)
        with evaluating(model):
            return _side_by_side(model, ids, attention_mask, target_BL, queue_BL, sizes, chunk)
    attention = repeat(None) if attention_mask is None else attention_mask.split(chunk)
    parts = zip(ids.split(chunk), attention, target_BL.split(chunk))  # noqa: B905
    with evaluating(model):
        return torch.cat([_one_after_another(model, *part, by_logits, sizes) for part in parts])


def _known_scores(order: Order, target_BL: Tensor) -> Tensor:
    """(B, L), lower = earlier, of an order known beforehand. Raises ValueError on any other."""
    if not isinstance(order, str):
        assert not callable(order)  # that is one which looks at the logits
        positions = check_order(order, *target_BL.shape)
        return order_to_rank(positions.to(target_BL.device))
    if order not in LIKELIHOOD_ORDERS:
        names = ", ".join(LIKELIHOOD_ORDERS)
        hint = ""
        if order == "random":
            hint = "; the average over random orders is bounded by nelbo"
        elif order in DRAWN_ORDERS:
            hint = "; which position comes next depends on tokens that are not in the text"
        raise ValueError(
            f"order is {order!r}; expected a LongTensor of positions, a callable or {names}{hint}."
        )
    place_BL = _all_positions(target_BL)
    return order_scores(order, place_BL, place_BL)


def _side_by_side(
    model: MaskedLanguageModel,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    target_BL: Tensor,
    queue_BL: Tensor,
    sizes: list[int],
    chunk: int,
) -> Tensor:
    """All steps of all rows, known beforehand: in as few calls as `chunk` sequences a call make."""
    rank_BL = order_to_rank(queue_BL)  # among the target positions
    row_N, begin_N, end_N = _groups(sizes, target_BL.sum(1))
    log_probs_BL = torch.zeros(input_ids.shape, dtype=torch.float64, device=input_ids.device)
    for first in range(0, len(row_N), chunk):
        part = slice(first, first + chunk)
        rows_N = row_N[part]
        begin_N1 = begin_N[part, None]
        end_N1 = end_N[part, None]
        width = int((end_N1 - begin_N1).max())
        # smaller groups repeat their last position: the same term, written twice
        index_NK = begin_N1 + torch.arange(width, device=input_ids.device)
        index_NK = torch.minimum(index_NK, end_N1 - 1)
        positions_NK = queue_BL[rows_N].gather(1, index_NK)
        hidden_NL = target_BL[rows_N] & (rank_BL[rows_N] >= begin_N1)
        attention_NL = None if attention_mask is None else attention_mask[rows_N]
        logits_NKV = _logits_at(model, input_ids[rows_N], hidden_NL, attention_NL, positions_NK)
        terms_NK = _log_probs(logits_NKV, input_ids[rows_N].gather(1, positions_NK))
        log_probs_BL[rows_N[:, None], positions_NK] = terms_NK
    return log_probs_BL


def _one_after_another(
    model: MaskedLanguageModel,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    target_BL: Tensor,
    order: LogitOrder,
    sizes: list[int],
) -> Tensor:
    """Steps whose positions depend on the logits; `best` chooses as it does in `generate`."""
    log_probs_BL = torch.zeros(input_ids.shape, dtype=torch.float64, device=input_ids.device)
    hidden_BL = target_BL.clone()
    for size in sizes:
        row_N = hidden_BL.any(1).nonzero()[:, 0]  # a shorter row is done before the others
        if not len(row_N):
            break
        ids_NL = input_ids[row_N]
        hidden_NL = hidden_BL[row_N]
        attention_NL = None if attention_mask is None else attention_mask[row_N]
        pool_NW = _all_positions(hidden_NL) if order.whole_rows else _hidden_first(hidden_NL)
        open_NW = hidden_NL.gather(1, pool_NW)
        logits_NWV = _logits_at(model, ids_NL, hidden_NL, attention_NL, pool_NW)
        check_no_nan(logits_NWV)  # an order by such numbers is none
        scores_NW, tie = order.scores_and_tie(logits_NWV, open_NW)
        chosen_NK = best(scores_NW, open_NW, tie, size)
        positions_NK = pool_NW.gather(1, chosen_NK)
        terms_NK = _log_probs(
            select_positions(logits_NWV, chosen_NK), ids_NL.gather(1, positions_NK)
        )
        log_probs_BL[row_N[:, None], positions_NK] = terms_NK
        hidden_BL[row_N[:, None], positions_NK] = False
    return log_probs_BL


def _hidden_first(hidden_NL: Tensor) -> Tensor:
    """int64 (N, W): each row's hidden positions from left to right, then known ones up to W."""
    width = int(hidden_NL.sum(1).max())
    return (~hidden_NL).to(torch.int8).argsort(dim=1, stable=True)[:, :width]


def _all_positions(hidden_NL: Tensor) -> Tensor:
    return torch.arange(hidden_NL.shape[1], device=hidden_NL.device).expand_as(hidden_NL)


def _logits_at(
    model: MaskedLanguageModel,
    ids_NL: Tensor,
    hidden_NL: Tensor,
    attention_NL: Tensor | None,
    positions_NK: Tensor,
) -> Tensor:
    """The logits (N, K, V) at some positions given what is not hidden: one call of the network."""
    masked_NL = ids_NL.masked_fill(hidden_NL, model.config.mask_token_id)
    return position_logits(model)(masked_NL, attention_NL, positions_NK)


def _log_probs(logits_NKV: Tensor, tokens_NK: Tensor) -> Tensor:
    """log p of the tokens, float64 (N, K), nats."""
    log_probs_NK = logits_NKV.double().log_softmax(-1).gather(2, tokens_NK[..., None])[..., 0]
    check_no_nan(log_probs_NK)
    return log_probs_NK


def _groups(sizes: list[int], num_tokens_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row of each (row, group) pair, where its group begins and ends in the queue, int64 (N,)."""
    bounds_S = group_bounds([sizes])[0].to(num_tokens_B.device)
    bounds_BS = torch.minimum(bounds_S, num_tokens_B[:, None])  # a shorter row's last are empty
    # all rows' first groups, then all second ones: a plan's groups of one size share a call
    group_N, row_N = bounds_BS.diff(dim=1).t().nonzero(as_tuple=True)
    return row_N, bounds_BS[row_N, group_N], bounds_BS[row_N, group_N + 1]


def _sizes(plan: list[int] | None, num_tokens_B: Tensor) -> list[int]:
    """The plan, checked against every row; without one, a group for each token of the longest."""
    if plan is None:
        return [1] * max(num_tokens_B.tolist(), default=0)
    if not isinstance(plan, (list, tuple)):
        raise ValueError(
            f"plan is {plan!r}; expected a list of group sizes, or None for one token at a time."
        )
    sizes = [check_integer("plan's group size", size, 1) for size in plan]
    wrong = (num_tokens_B != sum(sizes)).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"plan sums to {sum(sizes)}; expected {num_tokens_B[row]}, the tokens of row {row}"
            " without padding and given ones."
        )
    return sizes
