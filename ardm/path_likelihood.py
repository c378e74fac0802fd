"""Likelihood along a path: the exact log-probability of a sequence under one order and one plan.

    log p(x | order, plan) = sum over groups G of the plan
                             sum over p in G  log p(x_p | x of the groups before G)

One token at a time this is one term of the bound's expectation over orders (arXiv 2110.02037,
equation 2), a true likelihood. Larger groups are those of the parallel sampler (section 3.1).
Nothing is drawn. With several stages an order arranges reveals, the groups are of reveals, and each
factor is that of the next node on the way to x_p (stages.py). float64 nats throughout.

Shapes: B batch, L length, S stages.
"""

import torch
from torch import Tensor

from .arrangements import reveal_scores, reveal_times
from .networks import MaskedLanguageModel, evaluating
from .orders import DRAWN_ORDERS, ORDER_NAMES, CustomOrder, all_positions, logit_order
from .path_steps import one_after_another, side_by_side
from .plans import Plan, stage_plan
from .stages import Stages
from .target_rows import TargetRows, target_rows, target_tokens
from .vocabulary import VocabularyConfig, impossible_ids

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
    rows = target_rows(model, input_ids, attention_mask, prompt_mask)
    _check_given(model.config, input_ids, attention_mask, prompt_mask)
    sizes = _sizes(plan, rows.num_tokens_B, rows.stages)
    chunk = rows.sequences_per_call(batch_size)
    by_logits = logit_order(order)
    with evaluating(model):
        if by_logits is None or by_logits.of_draws:
            return side_by_side(rows, _known_scores(order, rows), sizes, chunk)
        parts = torch.arange(len(input_ids), device=input_ids.device).split(chunk)
        return torch.cat([one_after_another(rows.at(part), by_logits, sizes) for part in parts])


def _check_given(
    config: VocabularyConfig,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    prompt_mask: Tensor | None,
) -> None:
    """Raises ValueError if what is given is a mask or padding; it may be a class."""
    own = {config.mask_token_id, getattr(config, "pad_token_id", None)}
    classes = [*(impossible_ids(config) - own)]
    classes_BL = None
    if classes and prompt_mask is not None:
        classes_BL = torch.isin(input_ids, torch.tensor(classes, device=input_ids.device))
        classes_BL = classes_BL & prompt_mask.bool()
    target_tokens(config, input_ids, attention_mask, classes_BL)


def _known_scores(order: Order, rows: TargetRows) -> Tensor:
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
    place_BL = all_positions(rows.target_BL)
    no_chance_BSL = place_BL[:, None].expand(-1, num_stages, -1)
    return reveal_scores(order, place_BL, no_chance_BSL, torch.zeros_like(place_BL), rows.stages)


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
