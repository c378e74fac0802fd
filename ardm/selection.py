"""Selection: which of the open positions a step fills, and how many, once their logits are known.

    ranked = open positions, highest score first       (orders.py)
    taken  = the first `least` of them (the plan), or more while they are sure enough:
             threshold      all with max_v p(v) >= threshold (arXiv 2505.22618), or with p(x) of the
                            token x that the order has drawn
             entropy bound  the longest prefix with sum H - max H <= bound        (arXiv 2505.24857)

Drawing the taken tokens independently costs sum H - H(joint) nats, and H(joint) >= max H: so the
bound bounds it. Orders and amounts look at the distribution after logits processors and guidance,
before temperature, top_k and such unless they are told to look behind them. Of several stages
(stages.py) the logits are those of the children, and x and v stand for the next reveal.

Shapes: B batch, L length, W open positions looked at, K taken, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .canvas import ORDER_NOISE, Canvas
from .draws import Warp
from .orders import LogitOrder, confidence, drawn_confidence, entropy
from .randomness import gumbel
from .ranking import best, ranking

# logits (B, W, V), reveals drawn (B, W) or None, ranking (B, W), open (B, W)
# -> ranking, how many are sure enough (B, 1)
Amount = Callable[[Tensor, Tensor | None, Tensor, Tensor], tuple[Tensor, Tensor]]


class Selection:
    """Ranks open positions by a score of their logits and takes the first ones.

    Args:
        order: what gives the scores; None: the canvas's own queue does.
        noise: order_temperature: Gumbel noise times this is added to the scores, so that with one
            position a step it is chosen with probability softmax(scores / noise).
        amount: how many are taken beyond what the plan asks, by [`above_threshold`] or
            [`within_entropy`]; None: none.
        warp: what is done to the logits before they are looked at, by [`warping`]; None: nothing.
    """

    def __init__(
        self,
        order: LogitOrder | None,
        noise: float = 0.0,
        amount: Amount | None = None,
        warp: Warp | None = None,
    ):
        self.order = order
        self.noise = noise
        self.amount = amount
        self.warp = warp

    @property
    def whole_rows(self) -> bool:
        """Whether the pool is to be all positions of the rows, from left to right."""
        return self.order is not None and self.order.whole_rows

    @property
    def of_draws(self) -> bool:
        """Whether it wants to be given a token drawn at every position of the pool."""
        return self.order is not None and self.order.of_draws

    def __call__(
        self,
        logits_BWV: Tensor,
        canvas: Canvas,
        pool_BW: Tensor,
        open_BW: Tensor,
        least_B1: Tensor,
        count: int | None = None,
        tokens_BW: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Chooses from the pool.

        Args:
            logits_BWV: of the pool's positions.
            canvas: the rows.
            pool_BW: int64 (B, W), positions.
            open_BW: bool (B, W), which of them may be filled.
            least_B1: int64 (B, 1), how many the plan asks for.
            count: that number, if all rows take exactly so many.
            tokens_BW: int64 (B, W), the reveals drawn, if `of_draws`.

        Returns:
            int64 (B, W) indices into W, the taken ones first (with `count`: those alone), and int64
            (B, 1), how many are taken.
        """
        if self.warp is not None:
            logits_BWV = self.warp(logits_BWV)
        scores_BW, tie = self._scores(logits_BWV, canvas, pool_BW, open_BW, tokens_BW)
        if count is not None and self.amount is None:
            return best(scores_BW, open_BW, tie, count), least_B1
        first_BW = ranking(scores_BW, open_BW, tie)
        taken_B1 = least_B1
        if self.amount is not None:
            first_BW, sure_B1 = self.amount(logits_BWV, tokens_BW, first_BW, open_BW)
            taken_B1 = torch.maximum(least_B1, sure_B1)
        # where stages overlap a position may be revealed further in the same step
        reveals = canvas.stages.num_stages if canvas.stages.interleaved else 1
        return first_BW, torch.minimum(taken_B1, open_BW.sum(1, keepdim=True) * reveals)

    def _scores(
        self,
        logits_BWV: Tensor,
        canvas: Canvas,
        pool_BW: Tensor,
        open_BW: Tensor,
        tokens_BW: Tensor | None,
    ) -> tuple[Tensor, Tensor | float | None]:
        """Scores, highest first, and the difference up to which two are equal."""
        if self.order is None:
            return -canvas.of_next(canvas.scores_BR, pool_BW), 0.0
        drawn = () if tokens_BW is None else (tokens_BW,)
        if not self.noise:
            return self.order.scores_and_tie(logits_BWV, open_BW, *drawn)
        scores_BW = self.order.score(logits_BWV, open_BW, *drawn)
        place_BW = canvas.place_BL.gather(1, pool_BW)
        uniforms_BW = canvas.uniforms(ORDER_NOISE, place_BW, canvas.step_B1)
        return scores_BW + self.noise * gumbel(uniforms_BW), 0.0


def above_threshold(threshold: float) -> Amount:
    """All whose likeliest, or drawn, token has at least this probability; they come first."""

    def amount(
        logits_BWV: Tensor, tokens_BW: Tensor | None, first_BW: Tensor, open_BW: Tensor
    ) -> tuple[Tensor, Tensor]:
        log_probs_BW = (
            confidence(logits_BWV) if tokens_BW is None else drawn_confidence(logits_BWV, tokens_BW)
        )
        sure_BW = (log_probs_BW.exp() >= threshold) & open_BW
        sure_first_BW = (~sure_BW).gather(1, first_BW).to(torch.int8).argsort(dim=1, stable=True)
        return first_BW.gather(1, sure_first_BW), sure_BW.sum(1, keepdim=True)

    return amount


def within_entropy(bound: float) -> Amount:
    """The first ones while the sum of their entropies less the largest is at most `bound` nats."""

    def amount(
        logits_BWV: Tensor, _: Tensor | None, first_BW: Tensor, open_BW: Tensor
    ) -> tuple[Tensor, Tensor]:
        nats_BW = entropy(logits_BWV).double().gather(1, first_BW)
        within_BW = nats_BW.cumsum(1) - nats_BW.cummax(1).values <= bound  # never falls along a row
        return first_BW, (within_BW & open_BW.gather(1, first_BW)).sum(1, keepdim=True)

    return amount
