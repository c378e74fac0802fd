"""Likelihood along a path: the exact log-probability of a sequence under one order and one plan.

    log p(x | order, plan) = sum over groups G of the plan
                             sum over p in G  log p(x_p | x of the groups before G)

One token at a time this is one term of the bound's expectation over orders (arXiv 2110.02037,
equation 2), a true likelihood. Larger groups are those of the parallel sampler (section 3.1).
Nothing is drawn: all steps of all rows are known beforehand, and go through the network side by
side. With several stages an order arranges reveals, the groups are of reveals, and each factor is
that of the next node on the way to x_p (stages.py); what is revealed twice in a group takes both
factors from the same logits. float64 nats throughout.

Shapes: B batch, L length, S stages, N (row, group) pairs, W positions looked at, K reveals of the
largest group of a call, V vocabulary, R = S*L reveals of a row.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .arrangements import open_positions, reveal_scores, reveal_times, shared_reveals
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
    generation_queue,
    logit_order,
    order_to_rank,
)
from .plans import Plan, group_bounds, stage_plan
from .ranking import best, ranking
from .stages import Stages
from .vocabulary import stages_of

Order = Tensor | str | CustomOrder
# "random" is no path: every permutation of the positions is one of its own. Nor is an order that
# hangs on tokens which were drawn and not kept.
LIKELIHOOD_ORDERS = tuple(name for name in ORDER_NAMES if name not in ("random", *DRAWN_ORDERS))


def log_prob(
    model: MaskedLanguageModel,
    input_ids: Tensor,
    order: Order,
    *,
    plan: Plan | None = None,
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
            place of a generator. Of S stages (L,), the same in every stage; (S, L), one a stage;
            or (S*L,), positions of which each occurs S times: its k-th time is its k-th reveal.
            With rows in front, (B, S, L) or (B, S*L).
        plan: group sizes that sum to every row's number of tokens, without padding and given ones;
            None = one at a time. Of S stages one after the other a list for each, or one for all;
            of interleaved ones group sizes that sum to all reveals.
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
    plan: Plan | None,
    attention_mask: Tensor | None,
    prompt_mask: Tensor | None,
    batch_size: int | None,
) -> Tensor:
    """float64 (B, L), nats: each position's term of [`log_prob`], 0 where there is none."""
    # a mask or padding is no given token either
    target_tokens(model.config, input_ids, attention_mask, None)
    target_BL = target_tokens(model.config, input_ids, attention_mask, prompt_mask)
    stages = stages_of(model.config)
    sizes = _sizes(plan, target_BL.sum(1), stages)
    chunk = sequences_per_call(batch_size, input_ids, stages.num_outputs)
    rows = _Rows(model, stages, input_ids.long(), attention_mask, target_BL)
    by_logits = logit_order(order)
    with evaluating(model):
        if by_logits is None or by_logits.of_draws:
            return _side_by_side(rows, _known_scores(order, rows), sizes, chunk)
        parts = torch.arange(len(input_ids), device=input_ids.device).split(chunk)
        return torch.cat([_one_after_another(rows.at(part), by_logits, sizes) for part in parts])


class _Rows(NamedTuple):
    """What is scored, and what scores it."""

    model: MaskedLanguageModel
    stages: Stages
    input_ids: Tensor
    attention_mask: Tensor | None
    target_BL: Tensor

    def at(self, row_N: Tensor) -> "_Rows":
        """Some of the rows."""
        attention_NL = None if self.attention_mask is None else self.attention_mask[row_N]
        return _Rows(
            self.model, self.stages, self.input_ids[row_N], attention_NL, self.target_BL[row_N]
        )

    def outputs(self, level_BL: Tensor, positions_BK: Tensor) -> Tensor:
        """What the network says of some positions when each has come to a level: one call of it."""
        coarse_BL = self.stages.coarsen(self.input_ids, level_BL)
        canvas_BL = torch.where(self.target_BL, coarse_BL, self.input_ids)
        return position_logits(self.model)(canvas_BL, self.attention_mask, positions_BK)

    def child_logits(self, outputs_BKV: Tensor, positions_BK: Tensor, level_BK: Tensor) -> Tensor:
        """Logits of the next reveal at positions that have come to a level."""
        return self.stages.child_logits(outputs_BKV, self._nodes(positions_BK, level_BK))

    def log_probs(self, outputs_BKV: Tensor, positions_BK: Tensor, level_BK: Tensor) -> Tensor:
        """log p of the next node on the way to each id, float64 (B, K), nats."""
        logits = self.child_logits(outputs_BKV.double(), positions_BK, level_BK)
        slots_BK = self.stages.child_slots(
            self._nodes(positions_BK, level_BK), self.input_ids.gather(1, positions_BK)
        )
        log_probs_BK = logits.log_softmax(-1).gather(2, slots_BK[..., None])[..., 0]
        check_no_nan(log_probs_BK)
        return log_probs_BK

    def _nodes(self, positions_BK: Tensor, level_BK: Tensor) -> Tensor:
        return self.stages.coarsen(self.input_ids.gather(1, positions_BK), level_BK)


def _known_scores(order: Order, rows: _Rows) -> Tensor:
    """(B, S, L), lower = earlier, of an order known beforehand. Raises ValueError on any other."""
    num_stages = rows.stages.num_stages
    if not isinstance(order, str):
        assert not callable(order)  # that is one which looks at the logits
        times_BSL = reveal_times(order, rows.input_ids.shape, num_stages)
        return times_BSL.to(rows.input_ids.device)
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
    place_BL = _all_positions(rows.target_BL)
    no_chance_BSL = place_BL[:, None].expand(-1, num_stages, -1)
    return reveal_scores(order, place_BL, no_chance_BSL, torch.zeros_like(place_BL), rows.stages)


def _side_by_side(rows: _Rows, scores_BSL: Tensor, sizes: list[int], chunk: int) -> Tensor:
    """All steps of all rows, known beforehand: in as few calls as `chunk` sequences a call make."""
    num_rows, num_stages, length = scores_BSL.shape
    reveals_BR = rows.target_BL.repeat(1, num_stages)
    queue_BR = generation_queue(scores_BSL.flatten(1), reveals_BR)
    time_BSL = order_to_rank(queue_BR).view(scores_BSL.shape)  # among the targets' reveals
    row_N, begin_N, end_N = _groups(sizes, reveals_BR.sum(1))
    log_probs_BR = torch.zeros(queue_BR.shape, dtype=torch.float64, device=queue_BR.device)
    for first in range(0, len(row_N), chunk):
        part = slice(first, first + chunk)
        begin_N1 = begin_N[part, None]
        end_N1 = end_N[part, None]
        width = int((end_N1 - begin_N1).max())
        # smaller groups repeat their last reveal: the same term, written twice
        index_NK = begin_N1 + torch.arange(width, device=queue_BR.device)
        reveal_NK = queue_BR[row_N[part]].gather(1, torch.minimum(index_NK, end_N1 - 1))
        positions_NK = reveal_NK % length
        level_NL = (time_BSL[row_N[part]] < begin_N1[..., None]).sum(1)
        these = rows.at(row_N[part])
        outputs_NKV = these.outputs(level_NL, positions_NK)
        terms_NK = these.log_probs(outputs_NKV, positions_NK, reveal_NK // length)
        log_probs_BR[row_N[part, None], reveal_NK] = terms_NK
    return log_probs_BR.view(num_rows, num_stages, length).sum(1)


def _one_after_another(rows: _Rows, order: LogitOrder, sizes: list[int]) -> Tensor:
    """Steps whose positions depend on the logits; `best` chooses as it does in `generate`."""
    num_stages = rows.stages.num_stages
    log_probs_BL = torch.zeros_like(rows.input_ids, dtype=torch.float64)
    level_BL = torch.where(rows.target_BL, 0, num_stages)
    for size in sizes:
        row_N = (level_BL < num_stages).any(1).nonzero()[:, 0]  # shorter rows are done before
        if not len(row_N):
            break
        these = rows.at(row_N)
        level_NL = level_BL[row_N]
        open_NL = open_positions(level_NL, level_NL < num_stages, rows.stages)
        pool_NW = _all_positions(open_NL) if order.whole_rows else _open_first(open_NL)
        outputs_NWV = these.outputs(level_NL, pool_NW)
        open_NW = open_NL.gather(1, pool_NW)
        level_NW = level_NL.gather(1, pool_NW)
        logits_NWV = these.child_logits(outputs_NWV, pool_NW, level_NW)
        check_no_nan(logits_NWV)  # an order by such numbers is none
        left_NW = (num_stages - level_NW) * open_NW
        chosen_NK, made_NK = _chosen(order, logits_NWV, left_NW, size, rows.stages)
        positions_NK = pool_NW.gather(1, chosen_NK)
        outputs_NKV = select_positions(outputs_NWV, chosen_NK)
        level_NK = level_NW.gather(1, chosen_NK)
        for turn in range(int(made_NK.max())):
            again_NK = made_NK > turn
            terms_NK = these.log_probs(
                outputs_NKV, positions_NK, level_NK.clamp(max=num_stages - 1)
            )
            terms_NK = terms_NK.masked_fill(~again_NK, 0)
            log_probs_BL[row_N] = log_probs_BL[row_N].scatter_add(1, positions_NK, terms_NK)
            level_NK = level_NK + again_NK
        level_BL[row_N] = level_NL.scatter(1, positions_NK, level_NK)
    return log_probs_BL


def _chosen(
    order: LogitOrder, logits_NWV: Tensor, left_NW: Tensor, size: int, stages: Stages
) -> tuple[Tensor, Tensor]:
    """int64 (N, K) indices into W of the positions of a group, and how many reveals each makes."""
    open_NW = left_NW > 0
    scores_NW, tie = order.scores_and_tie(logits_NWV, open_NW)
    if not stages.interleaved:
        chosen_NK = best(scores_NW, open_NW, tie, size)
        return chosen_NK, torch.ones_like(chosen_NK)
    first_NW = ranking(scores_NW, open_NW, tie)
    size_11 = left_NW.new_full((1, 1), size)
    made_NW = shared_reveals(left_NW.gather(1, first_NW), size_11, stages.num_stages)
    most = int((made_NW > 0).sum(1).max())
    return first_NW[:, :most], made_NW[:, :most]


def _open_first(open_NL: Tensor) -> Tensor:
    """int64 (N, W): each row's open positions from left to right, then others up to W."""
    width = int(open_NL.sum(1).max())
    return (~open_NL).to(torch.int8).argsort(dim=1, stable=True)[:, :width]


def _all_positions(target_NL: Tensor) -> Tensor:
    return torch.arange(target_NL.shape[1], device=target_NL.device).expand_as(target_NL)


def _groups(sizes: list[int], num_reveals_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row of each (row, group) pair, where its group begins and ends in the queue, int64 (N,)."""
    bounds_S = group_bounds([sizes])[0].to(num_reveals_B.device)
    bounds_BS = torch.minimum(bounds_S, num_reveals_B[:, None])  # a shorter row's last are empty
    # all rows' first groups, then all second ones: a plan's groups of one size share a call
    group_N, row_N = bounds_BS.diff(dim=1).t().nonzero(as_tuple=True)
    return row_N, bounds_BS[row_N, group_N], bounds_BS[row_N, group_N + 1]


def _sizes(plan: Plan | None, num_tokens_B: Tensor, stages: Stages) -> list[int]:
    """The plan, checked against every row; without one, a group for each reveal of the longest."""
    if plan is None:
        return [1] * (max(num_tokens_B.tolist(), default=0) * stages.num_stages)
    if not isinstance(plan, (list, tuple)):
        raise ValueError(
            f"plan is {plan!r}; expected a list of group sizes, or None for one token at a time."
        )
    sizes: list[int] = []
    num_tokens = num_tokens_B.tolist()
    for length in {*num_tokens}:
        counted = f"tokens of row {num_tokens.index(length)} without padding and given ones"
        lengths = stages.reveals([length] * stages.num_stages)
        sizes = stage_plan(plan, lengths, counted, stages.num_stages)
    return sizes
