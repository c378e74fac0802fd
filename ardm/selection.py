"""Selection: which of the open positions a step fills, and how many, once their logits are known.

    ranked = open positions, highest score first       (orders.py)
    taken  = the first `least` of them (the plan), or more while they are sure enough:
             threshold      all with max_v p(v) >= threshold                      (arXiv 2505.22618)
             entropy bound  the longest prefix with sum H - max H <= bound        (arXiv 2505.24857)

Drawing the taken tokens independently costs sum H - H(joint) nats, and H(joint) >= max H: so the
bound bounds it. Orders and amounts look at the distribution after logits processors and guidance,
before temperature, top_k and such.

Shapes: B batch, L length, W open positions looked at, K taken, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .canvas import ORDER_NOISE, Canvas
from .orders import LOGIT_ORDERS, TIE, best, confidence, custom_scores, entropy, ranking
from .randomness import gumbel

Amount = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Selection:
    """Ranks open positions by a score of their logits and takes the first ones.

    Args:
        order: a name in `LOGIT_ORDERS`, a callable for [`custom_scores`] (it is given whole rows),
            or None: the order of the canvas's own queue.
        noise: order_temperature: Gumbel noise times this is added to the scores, so that with one
            position a step it is drawn with probability softmax(scores / noise).
        amount: how many are taken beyond what the plan asks, by [`above_threshold`] or
            [`within_entropy`]; None: none.
        generator: what a callable order is given.
    """

    def __init__(
        self,
        order: str | Callable | None,
        noise: float = 0.0,
        amount: Amount | None = None,
        generator: torch.Generator | None = None,
    ):
        self.order = order
        self.noise = noise
        self.amount = amount
        self.generator = generator

    def __call__(
        self,
        logits_BWV: Tensor,
        canvas: Canvas,
        pool_BW: Tensor,
        open_BW: Tensor | None,
        least_B1: Tensor,
        count: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Chooses from the pool.

        Args:
            logits_BWV: of the pool's positions.
            canvas: the rows.
            pool_BW: int64 (B, W), positions; whole rows for a callable order.
            open_BW: bool (B, W), which of them may be filled; None, only with `count`: all.
            least_B1: int64 (B, 1), how many the plan asks for.
            count: that number, if all rows take exactly so many.

        Returns:
            int64 (B, W) indices into W, the taken ones first (with `count`: those alone), and int64
            (B, 1), how many are taken.
        """
        scores_BW, tie = self._scores(logits_BWV, canvas, pool_BW, open_BW)
        if self.noise and self.order is not None:
            uniforms_BW = canvas.uniforms(
                ORDER_NOISE, canvas.place_BL.gather(1, pool_BW), canvas.step_B1
            )
            scores_BW = scores_BW + self.noise * gumbel(uniforms_BW)
            tie = 0.0
        if count is not None and self.amount is None:
            return best(scores_BW, open_BW, tie, count), least_B1
        assert open_BW is not None
        first_BW = ranking(scores_BW, open_BW, tie)
        taken_B1 = least_B1
        if self.amount is not None:
            first_BW, sure_B1 = self.amount(logits_BWV, first_BW, open_BW)
            taken_B1 = torch.maximum(least_B1, sure_B1)
        return first_BW, torch.minimum(taken_B1, open_BW.sum(1, keepdim=True))

    def _scores(
        self, logits_BWV: Tensor, canvas: Canvas, pool_BW: Tensor, open_BW: Tensor | None
    ) -> tuple[Tensor, float | None]:
        """Scores, highest first, and the difference up to which two are equal."""
        if self.order is None:
            return -canvas.scores_BL.gather(1, pool_BW), 0.0
        if isinstance(self.order, str):
            return LOGIT_ORDERS[self.order](logits_BWV), TIE
        assert self.generator is not None and open_BW is not None
        return custom_scores(self.order, logits_BWV, open_BW, self.generator), None


def above_threshold(threshold: float) -> Amount:
    """All positions whose most likely token has at least this probability; they come before the
    others.
    """

    def amount(logits_BWV: Tensor, first_BW: Tensor, open_BW: Tensor) -> tuple[Tensor, Tensor]:
        sure_BW = (confidence(logits_BWV).exp() >= threshold) & open_BW
        sure_first_BW = (~sure_BW).gather(1, first_BW).to(torch.int8).argsort(dim=1, stable=True)
        return first_BW.gather(1, sure_first_BW), sure_BW.sum(1, keepdim=True)

    return amount


def within_entropy(bound: float) -> Amount:
    """The first positions as long as the sum of their entropies less the largest is at most `bound`
    nats.
    """

    def amount(logits_BWV: Tensor, first_BW: Tensor, open_BW: Tensor) -> tuple[Tensor, Tensor]:
        nats_BW = entropy(logits_BWV).double().gather(1, first_BW)
        within_BW = nats_BW.cumsum(1) - nats_BW.cummax(1).values <= bound  # never falls along a row
        return first_BW, (within_BW & open_BW.gather(1, first_BW)).sum(1, keepdim=True)

    return amount
