"""Orders: which position is generated when.

An order is a permutation of positions, `order[i]` = the position generated at step i; its inverse
is the rank, `rank[p]` = the step at which p is generated (the paper's sigma is a rank; mixing the
two up is the field's commonest bug). Some orders are known before the first step (random, left to
right, explicit); others look at the logits of the hidden positions at every step, highest score
first:

    confidence         log max_v p(v)
    margin             p(1st) - p(2nd)    (arXiv 2502.06768)
    entropy            -H(p)              (as Dream's sampler)
    drawn_confidence   log p(x)           (as MaskGIT, arXiv 2202.04200, and LLaDA, 2502.09992)
    drawn_probability  p(x)               (as Dream's sampler)

The last two draw a token x at every hidden position first, anew at each step, and keep those that
came out likely. They differ in what noise on the scores does, in nothing else.

Shapes: B batch, L length, K positions, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .ranking import TIE

# (logits (B, L, V), hidden bool (B, L), generator) -> scores (B, L), higher = generated earlier
CustomOrder = Callable[[Tensor, Tensor, torch.Generator | None], Tensor]


# ----------------------------------------------------------------------- orders that need no logits
def order_to_rank(order: Tensor) -> Tensor:
    """The rank of each position, int64 of the order's shape (..., L); the inverse is the same."""
    return order.argsort(-1)


def check_order(order: Tensor, batch_size: int, length: int) -> Tensor:
    """Checks an explicit order and broadcasts it over the batch.

    Args:
        order: int64 (L,) or (B, L), each row a permutation of 0..L-1.
        batch_size: B.
        length: L.

    Returns:
        int64 (B, L).

    Raises:
        ValueError: if the shape or type is another, or a row is no permutation.
    """
    if not isinstance(order, Tensor) or order.dtype not in (torch.int64, torch.int32):
        got = order.dtype if isinstance(order, Tensor) else type(order).__name__
        raise ValueError(f"order is {got}; expected a LongTensor (L,) or (B, L) of positions.")
    if order.shape not in ((length,), (batch_size, length)):
        raise ValueError(
            f"order has shape {tuple(order.shape)}; expected ({length},) or"
            f" ({batch_size}, {length}): a permutation of all positions of the sequence."
        )
    order = order.long().expand(batch_size, length)
    if not torch.equal(
        order.sort(-1).values, torch.arange(length, device=order.device).expand_as(order)
    ):
        raise ValueError(
            f"order is no permutation of 0..{length - 1}: some position is missing or repeated."
        )
    return order


def order_scores(order: str | Tensor, place_BL: Tensor, uniforms_BL: Tensor) -> Tensor:
    """Scores of an order that needs no logits: lower = generated earlier.

    Args:
        order: "random", "left_to_right", "right_to_left", or positions int64 (L,) or (B, L).
        place_BL: int64 (B, L), each position's place among its row's real tokens.
        uniforms_BL: float64 (B, L), the random numbers that "random" sorts by.

    Returns:
        float64 (B, L).

    Raises:
        ValueError: on an unknown name, or a tensor that is no permutation.
    """
    if isinstance(order, str):
        if order not in QUEUE_ORDERS:
            raise ValueError(
                f"order is {order!r};"
                f" expected one of {sorted(QUEUE_ORDERS)} or a LongTensor of positions."
            )
        return QUEUE_ORDERS[order](place_BL, uniforms_BL).double()
    return order_to_rank(check_order(order, *place_BL.shape).to(place_BL.device)).double()


QUEUE_ORDERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "random": lambda place_BL, uniforms_BL: uniforms_BL,
    "left_to_right": lambda place_BL, uniforms_BL: place_BL,
    "right_to_left": lambda place_BL, uniforms_BL: -place_BL,
}


def all_positions(like_BL: Tensor) -> Tensor:
    """int64 (B, L): every position of every row, from left to right."""
    return torch.arange(like_BL.shape[1], device=like_BL.device).expand_as(like_BL)


def generation_queue(scores_BL: Tensor, masked_BL: Tensor) -> Tensor:
    """The masked positions of each row in order of their scores, then the known ones.

    Args:
        scores_BL: (B, L), lower = earlier.
        masked_BL: bool (B, L).

    Returns:
        int64 (B, L) of positions.
    """
    first_BL = scores_BL.argsort(dim=1, stable=True)
    known_last_BL = (~masked_BL).gather(1, first_BL).to(torch.int8).argsort(dim=1, stable=True)
    return first_BL.gather(1, known_last_BL)


# ------------------------------------------------------------------- orders that look at the logits
def confidence(logits_BKV: Tensor) -> Tensor:
    """log max_v p(v), nats, float32 (B, K)."""
    return logits_BKV.float().log_softmax(-1).amax(-1)


def margin(logits_BKV: Tensor) -> Tensor:
    """p(most likely) - p(second), float32 (B, K)."""
    probs_BKV = logits_BKV.float().softmax(-1)
    # twice a maximum: a third of the time of topk(2)
    first_BK1, token_BK1 = probs_BKV.max(-1, keepdim=True)
    return first_BK1.squeeze(-1) - probs_BKV.scatter(-1, token_BK1, 0.0).amax(-1)


def entropy(logits_BKV: Tensor) -> Tensor:
    """H(p), nats, float64 (B, K): a float32 sum would round by the batch around a row."""
    probs_BKV = logits_BKV.float().softmax(-1)
    log_probs_BKV = probs_BKV.clamp(min=torch.finfo(torch.float32).tiny).log()  # 0 log 0 = 0
    return -(probs_BKV * log_probs_BKV).sum(-1, dtype=torch.float64)


LOGIT_ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "confidence": confidence,
    "margin": margin,
    "entropy": lambda logits_BKV: -entropy(logits_BKV),
}


def drawn_confidence(logits_BKV: Tensor, tokens_BK: Tensor) -> Tensor:
    """log p(token), nats, float32 (B, K)."""
    return logits_BKV.float().log_softmax(-1).gather(-1, tokens_BK[..., None]).squeeze(-1)


# what the tokens were drawn with is not looked at: p is that of the logits
DRAWN_ORDERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "drawn_confidence": drawn_confidence,
    # float64: a probability far below those of float32 is not 0
    "drawn_probability": lambda logits_BKV, tokens_BK: (
        drawn_confidence(logits_BKV, tokens_BK).double().exp()
    ),
}

# (scores (B, K), logits (B, K, V)) -> (B, K), the probabilities that a score's rounding goes with;
# in a large vocabulary they are all far below any fixed tie
_SCALES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "margin": lambda _, logits_BKV: confidence(logits_BKV).exp(),
    "drawn_probability": lambda scores_BK, _: scores_BK,
}

ORDER_NAMES = (*QUEUE_ORDERS, *LOGIT_ORDERS, *DRAWN_ORDERS)


class LogitOrder(NamedTuple):
    """An order that looks at the logits.

    Args:
        score: (logits (B, K, V), open bool (B, K), tokens int64 (B, K) if `of_draws`) -> (B, K),
            highest = generated first.
        tie: difference up to which two scores are equal; None: in proportion to the row's largest.
        scale: (scores, logits) -> (B, K), what the tie is in units of; None: 1.
        whole_rows: whether it is to be given all positions, known ones included, from left to
            right; others are given those among which the step chooses.
        of_draws: whether it looks at tokens drawn beforehand.
    """

    score: Callable[..., Tensor]
    tie: float | None = TIE
    scale: Callable[[Tensor, Tensor], Tensor] | None = None
    whole_rows: bool = False
    of_draws: bool = False

    def scores_and_tie(
        self, logits: Tensor, open_BK: Tensor, *tokens_BK: Tensor
    ) -> tuple[Tensor, Tensor | float | None]:
        """Scores (B, K), and the tie to rank them with: a number, one a position, or None."""
        scores_BK = self.score(logits, open_BK, *tokens_BK)
        if self.scale is None or self.tie is None:
            return scores_BK, self.tie
        return scores_BK, self.tie * self.scale(scores_BK, logits)


def logit_order(order: Any, generator: torch.Generator | None = None) -> LogitOrder | None:
    """An order by its name, or a user's.

    Args:
        order: a name, or a callable for [`custom_scores`].
        generator: what a callable is given.

    Returns:
        The order; None where it is none that looks at the logits.
    """
    if callable(order):
        return LogitOrder(
            lambda logits, open_BL: custom_scores(order, logits, open_BL, generator),
            tie=None,
            whole_rows=True,
        )
    if not isinstance(order, str):
        return None
    scale = _SCALES.get(order)
    if order in DRAWN_ORDERS:
        of_drawn = DRAWN_ORDERS[order]
        return LogitOrder(
            lambda logits, _, tokens: of_drawn(logits, tokens), scale=scale, of_draws=True
        )
    if order not in LOGIT_ORDERS:
        return None
    score = LOGIT_ORDERS[order]
    return LogitOrder(lambda logits, _: score(logits), scale=scale)


def custom_scores(
    order: CustomOrder, logits: Tensor, masked_BL: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Scores of a user's order, checked.

    Args:
        order: (logits (B, L, V), masked bool (B, L), generator) -> scores (B, L), higher =
            generated earlier.
        logits: (B, L, V).
        masked_BL: bool (B, L), the positions among which the step chooses.
        generator: the call's source of randomness.

    Returns:
        float (B, L).

    Raises:
        ValueError: if the result is no tensor of that shape, or NaN at a masked position.
    """
    scores = order(logits, masked_BL, generator)
    if not isinstance(scores, Tensor) or scores.shape != masked_BL.shape:
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(
            f"the order's scores are {got};"
            f" expected a tensor {tuple(masked_BL.shape)}, higher = earlier."
        )
    scores = scores.to(masked_BL.device)
    scores = scores if scores.is_floating_point() else scores.double()
    if (scores.isnan() & masked_BL).any():
        raise ValueError(
            "the order's scores are NaN at a masked position; expected numbers, higher = earlier."
        )
    return scores
