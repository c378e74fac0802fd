"""Resampling: passes in which generated tokens go back to mask and are predicted again.

    after the last step     one pass sends n = round(fraction * generated) tokens back and draws all n again:
        random              uniformly chosen; with n = 1, random-scan Gibbs sampling, which leaves a distribution with
                            the model's conditionals as it is
        least_confident     those drawn with the lowest probability
    between the steps       the schedules of ReMDM (arXiv 2503.00307): with c tokens generated and m hidden, n of the c
                            go back and n of the m + n hidden ones are drawn, by the order of the
                            generation
        remdm_cap           n = min(fraction * c, m)
        remdm_rescale       n = fraction * min(c, m)
        remdm_conf          as cap, chosen with probability proportional to exp(-p) of each token as it was drawn

Unlike in ReMDM the number is fixed and only which tokens go back is drawn, as everywhere in this
package; every pass is a call of its own, which no longer sees what went back; and remdm_conf sends
back as many as cap, where the paper's expects at most one a step. A row without a known and a
hidden token between two of its steps has no such passes.

Shapes: B batch, L length.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .canvas import REVISION, Canvas
from .orders import TIE, ranking
from .randomness import gumbel

Scores = Callable[
    [Tensor, Tensor], Tensor
]  # log_probs (B, L) as drawn, uniforms (B, L) -> highest goes first

# name: (which go first, whether between the steps)
RESAMPLE_ORDERS: dict[str, tuple[Scores, bool]] = {
    "random": (lambda log_probs_BL, uniforms_BL: uniforms_BL, False),
    "least_confident": (lambda log_probs_BL, uniforms_BL: -log_probs_BL, False),
    "remdm_cap": (lambda log_probs_BL, uniforms_BL: uniforms_BL, True),
    "remdm_rescale": (lambda log_probs_BL, uniforms_BL: uniforms_BL, True),
    # the first n of exp(-p) with Gumbel noise: n draws without replacement
    "remdm_conf": (
        lambda log_probs_BL, uniforms_BL: gumbel(uniforms_BL) - log_probs_BL.exp(),
        True,
    ),
}


@dataclass(frozen=True)
class Resampling:
    """How many tokens go back, when, and which.

    Args:
        steps: number of resampling passes.
        fraction: share of the generated tokens that one pass sends back, in (0, 1].
        order: a name in `RESAMPLE_ORDERS`.
    """

    steps: int
    fraction: float
    order: str

    @property
    def between(self) -> bool:
        """Whether the passes lie between the steps of the plan, or after them."""
        return RESAMPLE_ORDERS[self.order][1]

    def number(self, known: int, hidden: int) -> int:
        """How many of `known` generated tokens one pass sends back where `hidden` others are
        hidden: at least 1.
        """
        if not self.between:
            return min(known, max(1, round(self.fraction * known)))
        if self.order == "remdm_rescale":
            return max(1, round(self.fraction * min(known, hidden)))
        return min(max(1, round(self.fraction * known)), hidden)

    def positions(self, canvas: Canvas, number_B1: Tensor, revision_B1: Tensor) -> Tensor:
        """Which generated tokens go back.

        Args:
            canvas: the rows.
            number_B1: int64 (B, 1), how many of each row.
            revision_B1: int64 (B, 1), which revision of its row this is, from 1: a key of the draw.

        Returns:
            bool (B, L).
        """
        written_BL = (canvas.order_BL >= 0) & ~canvas.hidden_BL
        if self.between and canvas.block_BL is not None:
            written_BL = written_BL & (canvas.block_BL == canvas.active_block()[:, None])
        uniforms_BL = canvas.uniforms(REVISION, canvas.place_BL, revision_B1)
        scores_BL = RESAMPLE_ORDERS[self.order][0](canvas.log_probs_BL, uniforms_BL)
        first_BL = ranking(scores_BL, written_BL, TIE if self.order == "least_confident" else 0.0)
        rank_BL = first_BL.argsort(1)
        return (rank_BL < number_B1) & written_BL
